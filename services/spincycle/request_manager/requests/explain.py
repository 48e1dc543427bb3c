"""Explains what a request and its jobs wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import cast

import structlog
from google.protobuf.message import DecodeError

from spincycle.chain.rebuild import replay
from spincycle.chain.waiting import (
    ALL_WAITS,
    WaitingJob,
    WaitReason,
    WaitSelection,
    waits_without_runner,
)
from spincycle.errors import InvalidChain, RequestUnreadable, RunnerUnreachable, SpinCycleError
from spincycle.internal.v1 import job_runner_service_pb2
from spincycle.model.job_chain import JobChain
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.revision import LAST_EPOCH
from spincycle.model.state import FINAL, State
from spincycle.request_manager.codec import encode_state
from spincycle.request_manager.runners.client import RunnerClient
from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.runners.silence import Silence
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.job_log_client import JobLogClient
from spincycle.request_manager.storage.model import Request, Runner
from spincycle.runtime import deadline
from spincycle.runtime.off_loop import LARGE_BYTES, off_loop
from spincycle.v1 import (
    job_chain_pb2,
    request_manager_service_pb2,
    suspended_job_chain_pb2,
    waiting_pb2,
)
from spincycle.wire.chain import decode_chain, decode_suspended_chain
from spincycle.wire.status import encode_wait

RUNNER_TIMEOUT = 1.0
"""Most seconds that the runner has to respond; at most a third of what the call has left."""

JOB_LOG_TIMEOUT = 5.0
"""Most seconds to read the journal; at most three quarters of the time that the call has left."""

FENCE_TIMEOUT = 1.0
"""Most seconds to read its fence; at most a third of the time that the call has left."""


class Explainer:
    """Explains requests: by their runner if it responds, or else by archive and journal."""

    def __init__(
        self,
        archives: ArchiveStore,
        runners: RunnerDirectory,
        job_log: JobLogClient,
        silence_limit: float,
    ) -> None:
        self._archives = archives
        self._runners = runners
        self._job_log = job_log
        self._silence_limit = silence_limit

    async def explain(
        self, request: Request, which: WaitSelection = ALL_WAITS
    ) -> request_manager_service_pb2.ExplainResponse:
        """Return what a request waits for, and what each of the selected jobs waits for.

        The response names a runner or job log that does not respond in time, and has what is
        known without it.

        Raises:
            DatabaseUnavailable: the request cannot be read.
        """
        response = request_manager_service_pb2.ExplainResponse(state=encode_state(request.state))
        if request.state in FINAL:
            return response
        client = (await self._runners.live()).get(request.runner_id)
        holds = True
        if request.state is State.RUNNING and client is not None:
            try:
                timeout = deadline.remaining(3 * RUNNER_TIMEOUT) / 3
                message = job_runner_service_pb2.ExplainChainRequest(
                    request_id=request.request_id,
                    job_ids=which.job_ids,
                    reasons=cast("list[waiting_pb2.WaitReason.ValueType]", list(which.reasons)),
                    limit=which.limit,
                    after_job_id=which.after,
                )
                explained = await client.explain(message, timeout)
            except RunnerUnreachable as error:
                structlog.get_logger().warning("explanation without runner", why=error.message)
                # Read the current silence of the runner.
                self._runners.invalidate()
                client = (await self._runners.live()).get(request.runner_id)
            else:
                if explained is not None:
                    response.message = explained.message
                    response.jobs.extend(explained.jobs)
                    return response
                holds = False
        reason, text = await self._cause(request, client)
        if not holds:
            text = _not_held(request)
        if request.runner_id:
            text = await self._fence(request) or text
        try:
            waits, unknown = await self._jobs(request, reason, text, which)
        except RequestUnreadable as error:
            waits, unknown = [], f"; what its jobs wait for is not known: {error.message}"
        response.message = text + unknown
        response.jobs.extend(encode_wait(wait) for wait in waits)
        return response

    async def _fence(self, request: Request) -> str:
        """Return why a fence of its journal prevents the recovery; empty if none does."""
        try:
            async with asyncio.timeout(deadline.remaining(3 * FENCE_TIMEOUT) / 3):
                in_force = await self._job_log.epoch_in_force(request.request_id)
        except (SpinCycleError, TimeoutError):
            # Reading the journal, which follows, reports that it does not respond.
            return ""
        if in_force < LAST_EPOCH:
            return ""
        return (
            f"its journal is fenced under epoch {in_force}, which no runner can be assigned; run "
            f"`spincycle repair-fences {request.request_id}`"
        )

    async def _cause(self, request: Request, client: RunnerClient | None) -> tuple[WaitReason, str]:
        """Return what the request waits for; `client` is that of its runner, if it is live."""
        if request.runner_id:
            silence = self._runners.silence(request.runner_id) if client else None
            return WaitReason.NO_RUNNER, _assigned(request, silence, self._silence_limit)
        if request.desired_state is State.SUSPENDED:
            return (
                WaitReason.SUSPENDED,
                f"the request is suspended until a user resumes it ({request.reason})",
            )
        candidates = [
            client.runner
            for client in (await self._runners.live()).values()
            if not client.runner.draining
        ]
        if not candidates:
            return WaitReason.NO_RUNNER, "there is no live job runner to run the request"
        if lacking := _lacking(request, candidates):
            return WaitReason.NO_RUNNER, lacking
        if request.max_running is not None:
            return (
                WaitReason.REQUEST_LIMIT,
                f"no more than {request.max_running} requests of type {request.type} run at once",
            )
        if all(runner.max_chains and runner.chains >= runner.max_chains for runner in candidates):
            return WaitReason.RUNNER_FULL, "every job runner has its maximum number of chains"
        if request.state is State.SUSPENDED and request.reason:
            return (
                WaitReason.NO_RUNNER,
                f"{request.reason}; then a job runner gets the request",
            )
        return WaitReason.NO_RUNNER, "the request is about to be assigned to a job runner"

    async def _jobs(
        self, request: Request, reason: WaitReason, text: str, which: WaitSelection
    ) -> tuple[list[WaitingJob], str]:
        """Return what each job waits for, or why that is unknown."""
        archived = await self._archives.job_chain(request.request_id)
        if not archived:
            return [], "; its chain is not in the archive"
        saved = b""
        entries: list[JournalEntry] = []
        try:
            async with asyncio.timeout(deadline.remaining(JOB_LOG_TIMEOUT * 4 / 3) * 3 / 4):
                entries = await self._job_log.read(request.request_id)
        except (SpinCycleError, TimeoutError) as error:
            structlog.get_logger().warning("explanation without journal", why=str(error))
            saved = await self._archives.saved_state(request.request_id)
            if not saved and (request.runner_id or request.state is not State.PENDING):
                return [], "; what its jobs wait for is not known: the job log does not respond"

        def explained() -> list[WaitingJob]:
            chain = _saved_chain(saved) if saved else _replayed(archived, entries)
            waits = waits_without_runner(chain, reason, text, which)
            return list(islice(filter(which.matches, waits), which.limit))

        try:
            return await off_loop(len(archived) >= LARGE_BYTES, explained), ""
        except (DecodeError, ValueError, InvalidChain) as damage:
            structlog.get_logger().warning("explanation without chain", why=str(damage))
            return [], "; what its jobs wait for is not known: its stored chain is damaged"


def _replayed(archived: bytes, entries: list[JournalEntry]) -> JobChain:
    chain = decode_chain(job_chain_pb2.JobChain.FromString(archived))
    return replay(chain, entries).job_chain


def _saved_chain(saved: bytes) -> JobChain:
    message = suspended_job_chain_pb2.SuspendedJobChain.FromString(saved)
    return decode_suspended_chain(message).job_chain


_THEN = {
    State.STOPPED: "the request is stopped",
    State.SUSPENDED: "the request is suspended",
    None: "the request is recovered on another runner",
}
"""What happens to a request whose runner is lost, by its desired state."""


def _not_held(request: Request) -> str:
    """Return what a request waits for whose live runner does not hold its chain."""
    return (
        f"runner {request.runner_id} does not hold the chain of the request; once its heartbeats "
        f"have confirmed that, {_THEN[request.desired_state]}"
    )


def _assigned(request: Request, silence: Silence | None, silence_limit: float) -> str:
    """Return what a request waits for whose runner has not explained it.

    `silence` is that of the runner; None if it is not live.
    """
    then = _THEN[request.desired_state]
    if silence is None:
        if request.desired_state is not None:
            return f"runner {request.runner_id} is lost; {then} as soon as it is recovered"
        return f"runner {request.runner_id} is lost; the request is about to be recovered"
    problem = "does not respond"
    if request.state is not State.RUNNING:
        problem = "was assigned the request and has not accepted it yet"
    ago = f"{silence.seconds:.1f} s ago"
    if not silence.is_exact:
        ago = f"at least {ago}"
    return (
        f"runner {request.runner_id} {problem}; its last heartbeat was {ago}. After "
        f"{silence_limit:g} s of silence the runner is evicted, and {then}"
    )


def _lacking(request: Request, runners: Sequence[Runner]) -> str:
    """Return why none of the runners can run the request; empty if one can."""
    required = request.required_features
    supporting = [runner for runner in runners if required <= runner.features]
    if not supporting:
        supported = frozenset[str]().union(*(runner.features for runner in runners))
        missing = sorted(required - supported) or sorted(required)
        return (
            f"no live job runner supports {', '.join(missing)}, which the request requires: start "
            "one of the version that created it"
        )
    job_types = frozenset(request.job_types)
    if any(runner.has_job_types(job_types) for runner in supporting):
        return ""
    one = "no live runner"
    if len(supporting) < len(runners):
        one += f" that supports {', '.join(sorted(required))}"
    runners_lack = f"{len(supporting)} runners lack"
    if len(supporting) == 1:
        runners_lack = "1 runner lacks"
    known = frozenset[str]().union(*(runner.job_types for runner in supporting))
    nowhere = sorted(job_types - known)
    if len(nowhere) == 1:
        return f"{one} has job type {nowhere[0]}; {runners_lack} it"
    if nowhere:
        return f"{one} has job types {', '.join(nowhere)}; {runners_lack} them"
    every = ", ".join(sorted(job_types))
    return f"{one} has all of the job types {every}; {runners_lack} some of them"
