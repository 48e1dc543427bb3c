"""Why a request, or a job of it, does not go on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from spincycle.chain.rebuild import replay
from spincycle.chain.waiting import WaitReason, waits_at_rest
from spincycle.request_manager.job_log_client import JobLogClient
from spincycle.request_manager.model import Request, Runner
from spincycle.request_manager.runners import RunnerDirectory
from spincycle.request_manager.store import RequestStore
from spincycle.request_manager.translate import encode_state
from spincycle.state import FINAL, State
from spincycle.v1 import job_chain_pb2, request_manager_service_pb2
from spincycle.wire.chain import decode_chain
from spincycle.wire.status import encode_wait

MAX_JOBS = 1000
"""Most jobs that are explained in one answer."""


class Explaining:
    """Asks the runner that has the request, or else the archive and the journal."""

    def __init__(
        self, store: RequestStore, runners: RunnerDirectory, job_log: JobLogClient
    ) -> None:
        self._store = store
        self._runners = runners
        self._job_log = job_log

    async def explain(self, request: Request) -> request_manager_service_pb2.ExplainResponse:
        """What a request waits for, and what each of its jobs waits for.

        Raises:
            RunnerUnreachable: the runner that has it does not answer.
        """
        response = request_manager_service_pb2.ExplainResponse(state=encode_state(request.state))
        if request.state in FINAL:
            return response
        client = (await self._runners.live()).get(request.runner_id)
        if request.state is State.RUNNING and client is not None:
            response.jobs.extend(await client.explain(request.request_id))
            return response
        reason, text = await self._at_rest(request)
        response.waits_for = text
        archived = (await self._store.job_chains([request.request_id]))[request.request_id]
        chain = decode_chain(job_chain_pb2.JobChain.FromString(archived))
        entries = await self._job_log.read(request.request_id)
        waits = waits_at_rest(replay(chain, entries).job_chain, reason, text)
        response.jobs.extend(encode_wait(wait) for wait in islice(waits, MAX_JOBS))
        return response

    async def _at_rest(self, request: Request) -> tuple[WaitReason, str]:
        if request.wish is State.SUSPENDED:
            return (
                WaitReason.SUSPENDED,
                f"the request is held ({request.reason}) until somebody resumes it",
            )
        if request.runner_id and request.state is State.RUNNING:
            return (
                WaitReason.NO_RUNNER,
                f"runner {request.runner_id} is lost; the request is about to go on elsewhere",
            )
        takers = [
            client.runner
            for client in (await self._runners.live()).values()
            if not client.runner.draining
        ]
        if not takers:
            return WaitReason.NO_RUNNER, "no job runner is there to take the request"
        if lacking := _lacking(request, takers):
            return WaitReason.NO_RUNNER, lacking
        if request.max_running is not None:
            return (
                WaitReason.REQUEST_LIMIT,
                f"no more than {request.max_running} requests of type {request.type} run at once",
            )
        if all(runner.max_chains and runner.chains >= runner.max_chains for runner in takers):
            return WaitReason.RUNNER_FULL, "every job runner has as many chains as it may"
        if request.state is State.SUSPENDED and request.reason:
            return WaitReason.NO_RUNNER, f"{request.reason}; then a job runner is given the request"
        return WaitReason.NO_RUNNER, "the request is about to be given to a job runner"


def _lacking(request: Request, runners: Sequence[Runner]) -> str:
    """Why none of the runners can run the request; empty if one can."""
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
