"""JobRunnerService: wire types in, wire types out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import grpc

from spincycle.chain.chain_state import ChainState
from spincycle.chain.waiting import WaitingJob, WaitSelection
from spincycle.errors import RequestNotFound, SpinCycleError, WrongRunner
from spincycle.internal.v1 import job_event_pb2, job_runner_service_pb2_grpc
from spincycle.internal.v1 import job_runner_service_pb2 as rpc
from spincycle.job_runner.chain_view import ChainView
from spincycle.job_runner.event_log import EncodedJobEvent, EventLog, EventLogReader, Happening
from spincycle.job_runner.ports import ChainBegun, ChainLeft
from spincycle.job_runner.runner import NEVER, JobRunner
from spincycle.model.job_chain import JobChain, SuspendedJobChain
from spincycle.model.job_status import JobEvent
from spincycle.rpc.calls import encoded
from spincycle.rpc.limits import REASON_BYTES
from spincycle.rpc.status import to_message
from spincycle.runtime.off_loop import off_loop
from spincycle.text.shortening import shortened
from spincycle.v1 import suspended_job_chain_pb2
from spincycle.v1.request_pb2 import JobCounts
from spincycle.wire.chain import decode_chain, decode_suspended_chain
from spincycle.wire.chain_parts import ChainParts, SuspendedParts
from spincycle.wire.status import encode_event, encode_status, encode_wait
from spincycle.wire.times import get_nanoseconds, set_nanoseconds

WAITS_PER_TURN = 1000
"""Waiting jobs that are examined before the event loop runs other tasks."""

MAX_RUNNING = 1001
"""Most jobs that ListRunning answers when the caller sets no limit."""

MAX_WAITS = 1001
"""Most jobs that ExplainChain answers."""

EVENTS_PER_RESPONSE = 500
"""Most events in one message of WatchJobs."""

LARGE = 256 * 1024
"""Bytes of chains in one message from which they are read in a thread."""

MANY_JOBS = 1000
"""Jobs from which DescribeChains encodes what it answers in a thread."""

DESCRIBE_TIMEOUT = 2.0
"""Seconds that DescribeChains waits for commits."""

Context = grpc.aio.ServicerContext[Any, Any]


class JobRunnerService(job_runner_service_pb2_grpc.JobRunnerServiceServicer):
    """Translates calls for the runner; see the contract for what each does."""

    def __init__(
        self,
        runner: JobRunner,
        watchers: EventLog,
        runner_id: Callable[[], str],
        address: str,
        unstored_ends: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._runner = runner
        self._unstored_ends = unstored_ends
        self._watchers = watchers
        self._runner_id = runner_id
        self._address = address

    async def RunChains(
        self, request: rpc.RunChainsRequest, context: Context
    ) -> rpc.RunChainsResponse:
        self._check_addressee(request.runner_id)
        response = rpc.RunChainsResponse(runner_address=self._address)
        is_large = request.ByteSize() >= LARGE
        for assignment in request.assignments:
            try:
                chain, state = await off_loop(is_large, partial(self._read, assignment))
                self._runner.run(chain, assignment.epoch, state)
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
        is_large = request.ByteSize() >= LARGE
        for message in request.suspended_job_chains:
            try:
                suspended, state = await off_loop(is_large, partial(self._read_suspended, message))
                self._runner.resume(suspended, message.epoch, state)
            except SpinCycleError as refused:
                response.refusals.add(request_id=message.request_id, error=to_message(refused))
        return response

    async def UploadChain(
        self, request_iterator: AsyncIterator[rpc.UploadChainRequest], context: Context
    ) -> rpc.UploadChainResponse:
        new, suspended = ChainParts(), SuspendedParts()
        addressee, epoch = "", 0
        ran_before = False
        async for request in request_iterator:
            epoch = request.epoch or epoch
            addressee = request.runner_id or addressee
            if addressee != self._runner_id():
                # Read to its end all the same: who is still sending may not hear why it failed.
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
            self._runner.resume(whole, epoch, resumed)
        else:
            state = await asyncio.to_thread(self._runner.prepare, new.chain, epoch)
            self._runner.run(new.chain, epoch, state)
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
            started_at = get_nanoseconds(place.started_at) if has_start else NEVER
            after = (started_at, place.request_id, place.job_id)
        limit = min(request.filter.limit or MAX_RUNNING, MAX_RUNNING)
        running = self._runner.running(request.filter.request_id, limit, after)
        return rpc.ListRunningResponse(
            jobs=[encode_status(status) for status in running],
            runner_id=self._runner_id(),
            total_size=self._runner.count_running(request.filter.request_id),
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
                jobs=[encode_wait(wait) for wait in await _taken(waits, which)],
                message=self._runner.waits_for(request.request_id),
            )
        if request.request_id not in self._unstored_ends():
            raise RequestNotFound(request.request_id)
        return rpc.ExplainChainResponse(
            message=f"runner {self._runner_id()} has reported how the chain ended; no request "
            "manager has stored that yet"
        )

    async def WatchJobs(
        self, request: rpc.WatchJobsRequest, context: Context
    ) -> AsyncIterator[rpc.WatchJobsResponse]:
        self._check_addressee(request.runner_id)
        watcher = EventLogReader(request.request_ids)
        self._watchers.add(watcher)
        try:
            resumes = request.HasField("after_offset")
            missed = self._watchers.after(request.after_offset) if resumes else []
            started = rpc.WatchStarted(
                offset=request.after_offset if missed else self._watchers.order,
                gap=missed is None,
                request_ids=self._runner.request_ids() if missed is None or not resumes else [],
            )
            yield rpc.WatchJobsResponse(started=started)
            if missed:
                yield encoded(rpc.WatchJobsResponse, (told.encoded for told in missed))
            async for events in watcher.batches():
                for start in range(0, len(events), EVENTS_PER_RESPONSE):
                    part = events[start : start + EVENTS_PER_RESPONSE]
                    yield encoded(rpc.WatchJobsResponse, (told.encoded for told in part))
        finally:
            self._watchers.remove(watcher)

    async def DescribeChains(
        self, request: rpc.DescribeChainsRequest, context: Context
    ) -> rpc.DescribeChainsResponse:
        views: dict[str, ChainView | rpc.ChainStatus] = {}
        waiting: dict[str, asyncio.Future[None]] = {}
        unwanted: dict[str, Callable[[], None]] = {}
        for known in request.chains:
            # Many large chains take a while; running jobs must not wait for that.
            await asyncio.sleep(0)
            missed = self._watchers.of_chain_after(
                known.request_id, known.epoch, known.sequence_number
            )
            if known.epoch and missed is not None:
                views[known.request_id] = _missed(known, missed)
                continue
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            tell = partial(self._described, views, told)
            take_back = self._runner.describe(known.request_id, tell)
            if take_back is not None:
                waiting[known.request_id], unwanted[known.request_id] = told, take_back
        try:
            if waiting:
                await asyncio.wait(waiting.values(), timeout=DESCRIBE_TIMEOUT)
        finally:
            late = [request_id for request_id in waiting if request_id not in views]
            for request_id in late:
                unwanted[request_id]()
        named = [views[known.request_id] for known in request.chains if known.request_id in views]
        order = self._watchers.order
        jobs = sum(len(view.jobs) for view in named)
        return rpc.DescribeChainsResponse(
            chains=await off_loop(jobs >= MANY_JOBS, lambda: [_encoded(view) for view in named]),
            offset=order,
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

    def _described(
        self,
        views: dict[str, ChainView | rpc.ChainStatus],
        told: asyncio.Future[None],
        view: ChainView,
    ) -> None:
        if told.done():
            return
        self._watchers.described(view.request_id, view.epoch, view.sequence_number)
        views[view.request_id] = view
        told.set_result(None)

    def _check_addressee(self, runner_id: str) -> None:
        if runner_id != self._runner_id():
            raise WrongRunner(runner_id or "(none named)", self._runner_id())


async def _taken(waits: Iterator[WaitingJob], which: WaitSelection) -> list[WaitingJob]:
    """Return the jobs whose reasons are selected, up to the limit."""
    taken: list[WaitingJob] = []
    for number, wait in enumerate(waits, start=1):
        if which.takes(wait):
            taken.append(wait)
            if len(taken) == which.limit:
                break
        if number % WAITS_PER_TURN == 0:
            await asyncio.sleep(0)
    return taken


def encode_happening(happening: Happening, order: int) -> bytes:
    """An event as the bytes of a WatchJobsResponse that holds nothing else."""
    if isinstance(happening, JobEvent):
        event = encode_event(happening)
        event.request_id = happening.job.request_id
    else:
        transition = (
            job_event_pb2.CHAIN_TRANSITION_STARTED
            if isinstance(happening, ChainBegun)
            else job_event_pb2.CHAIN_TRANSITION_RELEASED
        )
        event = job_event_pb2.JobEvent(
            request_id=happening.request_id,
            epoch=happening.epoch,
            sequence_number=happening.sequence_number,
            transition=transition,
            complete=isinstance(happening, ChainLeft) and happening.all_told,
        )
        set_nanoseconds(event.occurred_at, happening.occurred_at)
    event.offset = order
    return rpc.WatchJobsResponse(events=[event]).SerializeToString()


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
    events = rpc.WatchJobsResponse.FromString(b"".join(told.encoded for told in missed)).events
    last = missed[-1].number if missed else known.sequence_number
    return rpc.ChainStatus(
        request_id=known.request_id,
        epoch=known.epoch,
        sequence_number=last,
        missed=events,
        complete=True,
    )
