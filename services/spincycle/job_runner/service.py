"""gRPC service of the job runner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import grpc

from spincycle.chain.chain_state import ChainState
from spincycle.chain.waiting import WaitingJob, WaitSelection
from spincycle.errors import RequestNotFound, SpinCycleError, WrongRunner
from spincycle.identity.append_grants import AppendGrant
from spincycle.internal.v1 import job_event_pb2, job_runner_service_pb2_grpc
from spincycle.internal.v1 import job_runner_service_pb2 as rpc
from spincycle.job_runner.chain_view import ChainView
from spincycle.job_runner.event_log import EncodedJobEvent, EventLog, EventLogReader, RunnerEvent
from spincycle.job_runner.ports import ChainReleased, ChainStarted
from spincycle.job_runner.runner import UNSTARTED, JobRunner
from spincycle.model.job_chain import JobChain, SuspendedJobChain
from spincycle.model.job_status import JobEvent
from spincycle.rpc.calls import encoded
from spincycle.rpc.limits import REASON_BYTES
from spincycle.rpc.status import to_message
from spincycle.runtime.off_loop import off_loop
from spincycle.text.shortening import shortened
from spincycle.v1 import suspended_job_chain_pb2
from spincycle.v1.request_pb2 import JobCounts
from spincycle.wire.append_grants import decode_grant
from spincycle.wire.chain import decode_chain, decode_suspended_chain
from spincycle.wire.chain_parts import ChainParts, SuspendedParts
from spincycle.wire.status import encode_event, encode_status, encode_wait
from spincycle.wire.times import get_nanoseconds, set_nanoseconds

WAITS_PER_TURN = 1000
"""Waiting jobs that are examined before the event loop runs other tasks."""

DEFAULT_RUNNING = 1000
"""Jobs that ListRunning returns if the caller sets no limit."""

MAX_RUNNING = 1001
"""Maximum jobs that ListRunning returns: a page of the request manager and one more."""

MAX_WAITS = 1001
"""Maximum jobs that ExplainChain returns."""

EVENTS_PER_RESPONSE = 500
"""Maximum events per message of WatchJobs."""

THREAD_MIN_BYTES = 256 * 1024
"""Size of a request from which its chains are decoded in a thread."""

THREAD_MIN_JOBS = 1000
"""Number of jobs from which DescribeChains encodes its response in a thread."""

DESCRIBE_TIMEOUT = 2.0
"""Seconds for which DescribeChains waits for commits."""

Context = grpc.aio.ServicerContext[Any, Any]


class JobRunnerService(job_runner_service_pb2_grpc.JobRunnerServiceServicer):
    """Translates calls between the contract, which documents them, and the runner."""

    def __init__(
        self,
        runner: JobRunner,
        event_log: EventLog,
        runner_id: Callable[[], str],
        address: str,
        unstored_ends: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._runner = runner
        self._unstored_ends = unstored_ends
        self._event_log = event_log
        self._runner_id = runner_id
        self._address = address

    async def RunChains(
        self, request: rpc.RunChainsRequest, context: Context
    ) -> rpc.RunChainsResponse:
        self._check_addressee(request.runner_id)
        response = rpc.RunChainsResponse(runner_address=self._address)
        is_large = request.ByteSize() >= THREAD_MIN_BYTES
        for assignment in request.assignments:
            try:
                chain, state = await off_loop(is_large, partial(self._read, assignment))
                self._runner.run(chain, assignment.epoch, state, _grant_of(assignment))
            except SpinCycleError as refused:
                response.refusals.add(
                    request_id=assignment.job_chain.request_id, error=to_message(refused)
                )
        return response

    async def ResumeChains(
        self, request: rpc.ResumeChainsRequest, context: Context
    ) -> rpc.ResumeChainsResponse:
        self._check_addressee(request.runner_id)
        response = rpc.ResumeChainsResponse(runner_address=self._address)
        is_large = request.ByteSize() >= THREAD_MIN_BYTES
        grants = {(grant.request_id, grant.epoch): grant for grant in request.append_grants}
        for message in request.suspended_job_chains:
            try:
                suspended, state = await off_loop(is_large, partial(self._read_suspended, message))
                grant = grants.get((message.request_id, message.epoch))
                self._runner.resume(
                    suspended, message.epoch, state, decode_grant(grant) if grant else None
                )
            except SpinCycleError as refused:
                response.refusals.add(request_id=message.request_id, error=to_message(refused))
        return response

    async def UploadChain(
        self, request_iterator: AsyncIterator[rpc.UploadChainRequest], context: Context
    ) -> rpc.UploadChainResponse:
        new, suspended = ChainParts(), SuspendedParts()
        addressee, epoch = "", 0
        append_grant: AppendGrant | None = None
        ran_before = False
        async for request in request_iterator:
            epoch = request.epoch or epoch
            append_grant = _grant_of(request) or append_grant
            addressee = request.runner_id or addressee
            if addressee != self._runner_id():
                # Read on: a client that is still sending may not receive the error.
                continue
            if request.HasField("suspended_job_chain"):
                ran_before = True
                await asyncio.to_thread(suspended.add, request.suspended_job_chain)
            else:
                await asyncio.to_thread(new.add, request.job_chain)
        self._check_addressee(addressee)
        if ran_before:
            whole = suspended.suspended
            resumed = await asyncio.to_thread(self._runner.prepare_resumed, whole, epoch)
            self._runner.resume(whole, epoch, resumed, append_grant)
        else:
            state = await asyncio.to_thread(self._runner.prepare, new.chain, epoch)
            self._runner.run(new.chain, epoch, state, append_grant)
        return rpc.UploadChainResponse(runner_address=self._address)

    async def StopChains(
        self, request: rpc.StopChainsRequest, context: Context
    ) -> rpc.StopChainsResponse:
        reason = shortened(request.reason, REASON_BYTES)
        unknown = [
            request_id
            for request_id in request.request_ids
            if not self._runner.stop(request_id, reason)
        ]
        return rpc.StopChainsResponse(unknown_request_ids=unknown)

    async def SuspendChains(
        self, request: rpc.SuspendChainsRequest, context: Context
    ) -> rpc.SuspendChainsResponse:
        unknown = [
            request_id for request_id in request.request_ids if not self._runner.suspend(request_id)
        ]
        return rpc.SuspendChainsResponse(unknown_request_ids=unknown)

    async def ListRunning(
        self, request: rpc.ListRunningRequest, context: Context
    ) -> rpc.ListRunningResponse:
        place = request.after
        after = (0, "", "")
        if request.HasField("after"):
            has_start = place.HasField("started_at")
            started_at = get_nanoseconds(place.started_at) if has_start else UNSTARTED
            after = (started_at, place.request_id, place.job_id)
        limit = min(request.filter.limit or DEFAULT_RUNNING, MAX_RUNNING)
        selected = _selected(request.filter.request_id, request.request_ids)
        running = self._runner.running(selected, limit, after)
        return rpc.ListRunningResponse(
            jobs=[encode_status(status) for status in running],
            runner_id=self._runner_id(),
            total_size=self._runner.count_running(selected),
        )

    async def ExplainChain(
        self, request: rpc.ExplainChainRequest, context: Context
    ) -> rpc.ExplainChainResponse:
        which = WaitSelection(
            frozenset(request.job_ids),
            frozenset(request.reasons),
            min(request.limit or MAX_WAITS, MAX_WAITS),
            request.after_job_id,
        )
        waits = self._runner.waits(request.request_id, which)
        if waits is not None:
            return rpc.ExplainChainResponse(
                jobs=[encode_wait(wait) for wait in await _matching(waits, which)],
                message=self._runner.waits_for(request.request_id),
            )
        if request.request_id not in self._unstored_ends():
            raise RequestNotFound(request.request_id)
        return rpc.ExplainChainResponse(
            message=f"runner {self._runner_id()} has reported the end of the chain; no request "
            "manager has stored it yet"
        )

    async def WatchJobs(
        self, request: rpc.WatchJobsRequest, context: Context
    ) -> AsyncIterator[rpc.WatchJobsResponse]:
        self._check_addressee(request.runner_id)
        reader = EventLogReader(request.request_ids)
        self._event_log.add(reader)
        try:
            resumes = request.HasField("after_offset")
            missed = self._event_log.events_after(request.after_offset) if resumes else []
            is_new = missed is None or not resumes
            started = rpc.WatchStarted(
                offset=request.after_offset if missed else self._event_log.offset,
                gap=missed is None,
                request_ids=self._runner.request_ids() if is_new else [],
            )
            yield rpc.WatchJobsResponse(started=started)
            if missed:
                yield encoded(rpc.WatchJobsResponse, (event.encoded for event in missed))
            async for events in reader.batches():
                for start in range(0, len(events), EVENTS_PER_RESPONSE):
                    part = events[start : start + EVENTS_PER_RESPONSE]
                    yield encoded(rpc.WatchJobsResponse, (event.encoded for event in part))
        finally:
            self._event_log.remove(reader)

    async def DescribeChains(
        self, request: rpc.DescribeChainsRequest, context: Context
    ) -> rpc.DescribeChainsResponse:
        views: dict[str, ChainView | rpc.ChainStatus] = {}
        delivered: dict[str, asyncio.Future[None]] = {}
        cancels: dict[str, Callable[[], None]] = {}
        for known in request.chains:
            # Yield to the event loop: many large chains would delay running jobs.
            await asyncio.sleep(0)
            missed = self._event_log.chain_events_after(
                known.request_id, known.epoch, known.sequence_number
            )
            if known.epoch and missed is not None:
                views[known.request_id] = _missed(known, missed)
                continue
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            deliver = partial(self._deliver, views, future)
            cancel = self._runner.describe(known.request_id, deliver)
            if cancel is not None:
                delivered[known.request_id], cancels[known.request_id] = future, cancel
        try:
            if delivered:
                await asyncio.wait(delivered.values(), timeout=DESCRIBE_TIMEOUT)
        finally:
            late = [request_id for request_id in delivered if request_id not in views]
            for request_id in late:
                cancels[request_id]()
        named = [views[known.request_id] for known in request.chains if known.request_id in views]
        offset = self._event_log.offset
        jobs = sum(len(view.jobs) for view in named)
        return rpc.DescribeChainsResponse(
            chains=await off_loop(
                jobs >= THREAD_MIN_JOBS, lambda: [_encoded(view) for view in named]
            ),
            offset=offset,
            uncommitted_request_ids=[id_ for id_ in late if self._runner.epoch(id_) is not None],
        )

    def _read(self, assignment: rpc.Assignment) -> tuple[JobChain, ChainState]:
        chain = decode_chain(assignment.job_chain)
        return chain, self._runner.prepare(chain, assignment.epoch)

    def _read_suspended(
        self, message: suspended_job_chain_pb2.SuspendedJobChain
    ) -> tuple[SuspendedJobChain, ChainState]:
        suspended = decode_suspended_chain(message)
        return suspended, self._runner.prepare_resumed(suspended, message.epoch)

    def _deliver(
        self,
        views: dict[str, ChainView | rpc.ChainStatus],
        delivered: asyncio.Future[None],
        view: ChainView,
    ) -> None:
        if delivered.done():
            return
        self._event_log.retain_from(view.request_id, view.epoch, view.sequence_number)
        views[view.request_id] = view
        delivered.set_result(None)

    def _check_addressee(self, runner_id: str) -> None:
        if runner_id != self._runner_id():
            raise WrongRunner(runner_id or "(none named)", self._runner_id())


def _grant_of(message: rpc.Assignment | rpc.UploadChainRequest) -> AppendGrant | None:
    return decode_grant(message.append_grant) if message.HasField("append_grant") else None


async def _matching(waits: Iterator[WaitingJob], which: WaitSelection) -> list[WaitingJob]:
    """Return the jobs whose reasons are selected, up to the limit."""
    matching: list[WaitingJob] = []
    for number, wait in enumerate(waits, start=1):
        if which.matches(wait):
            matching.append(wait)
            if len(matching) == which.limit:
                break
        if number % WAITS_PER_TURN == 0:
            await asyncio.sleep(0)
    return matching


def encode_runner_event(event: RunnerEvent, offset: int) -> bytes:
    """Return a serialized WatchJobsResponse that contains only this event."""
    if isinstance(event, JobEvent):
        message = encode_event(event)
        message.request_id = event.job.request_id
    else:
        transition = (
            job_event_pb2.CHAIN_TRANSITION_STARTED
            if isinstance(event, ChainStarted)
            else job_event_pb2.CHAIN_TRANSITION_RELEASED
        )
        message = job_event_pb2.JobEvent(
            request_id=event.request_id,
            epoch=event.epoch,
            sequence_number=event.sequence_number,
            transition=transition,
            complete=isinstance(event, ChainReleased) and event.complete,
        )
        set_nanoseconds(message.occurred_at, event.occurred_at)
    message.offset = offset
    return rpc.WatchJobsResponse(events=[message]).SerializeToString()


def _encoded(view: ChainView | rpc.ChainStatus) -> rpc.ChainStatus:
    if isinstance(view, rpc.ChainStatus):
        return view
    return rpc.ChainStatus(
        request_id=view.request_id,
        epoch=view.epoch,
        sequence_number=view.sequence_number,
        jobs=[encode_status(job) for job in view.jobs],
        counts=JobCounts(finished=view.finished_jobs, rolled_back=view.rolled_back_jobs),
    )


def _missed(known: rpc.KnownChain, missed: Sequence[EncodedJobEvent]) -> rpc.ChainStatus:
    events = rpc.WatchJobsResponse.FromString(b"".join(event.encoded for event in missed)).events
    last = missed[-1].sequence_number if missed else known.sequence_number
    return rpc.ChainStatus(
        request_id=known.request_id,
        epoch=known.epoch,
        sequence_number=last,
        missed=events,
        complete=True,
    )


def _selected(request_id: str, request_ids: Iterable[str]) -> frozenset[str] | None:
    """Return the requests whose jobs are listed; None for those of all requests."""
    selected = frozenset(request_ids)
    if not request_id:
        return selected or None
    return selected.intersection([request_id]) if selected else frozenset([request_id])
