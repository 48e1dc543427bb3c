"""JobRunnerService: wire types in, wire types out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from spincycle.errors import RequestNotFound, SpinCycleError, WrongRunner
from spincycle.job_runner.runner import JobRunner
from spincycle.job_runner.watchers import Watcher, Watchers
from spincycle.rpc.status import to_message
from spincycle.v1 import job_runner_service_pb2 as rpc
from spincycle.v1 import job_runner_service_pb2_grpc
from spincycle.wire.chain import decode_chain, decode_suspended_chain
from spincycle.wire.status import encode_event, encode_status, encode_wait

MAX_RUNNING = 1000
"""Most jobs that ListRunning answers when the caller sets no limit."""

MAX_WAITS = 1000
"""Most jobs that ExplainChain answers."""

EVENTS_PER_RESPONSE = 500
"""Most events in one message of WatchJobs."""

Context = grpc.aio.ServicerContext[Any, Any]


class JobRunnerService(job_runner_service_pb2_grpc.JobRunnerServiceServicer):
    """Translates calls for the runner; see the contract for what each does."""

    def __init__(
        self, runner: JobRunner, watchers: Watchers, runner_id: Callable[[], str], address: str
    ) -> None:
        self._runner = runner
        self._watchers = watchers
        self._runner_id = runner_id
        self._address = address

    async def RunChains(
        self, request: rpc.RunChainsRequest, context: Context
    ) -> rpc.RunChainsResponse:
        self._check_addressee(request.runner_id)
        response = rpc.RunChainsResponse(runner_address=self._address)
        for assignment in request.assignments:
            try:
                self._runner.run(decode_chain(assignment.job_chain), assignment.epoch)
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
        for message in request.suspended_job_chains:
            suspended = decode_suspended_chain(message)
            try:
                self._runner.resume(suspended, message.epoch)
            except SpinCycleError as refused:
                response.refusals.add(request_id=message.request_id, error=to_message(refused))
        return response

    async def StopChains(
        self, request: rpc.StopChainsRequest, context: Context
    ) -> rpc.StopChainsResponse:
        unknown = [
            request_id
            for request_id in request.request_ids
            if not self._runner.stop(request_id, request.reason)
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
        running = self._runner.running(
            request.filter.request_id, request.filter.limit or MAX_RUNNING
        )
        return rpc.ListRunningResponse(jobs=[encode_status(status) for status in running])

    async def ExplainChain(
        self, request: rpc.ExplainChainRequest, context: Context
    ) -> rpc.ExplainChainResponse:
        waits = self._runner.waits(request.request_id, MAX_WAITS)
        if waits is None:
            raise RequestNotFound(request.request_id)
        return rpc.ExplainChainResponse(jobs=[encode_wait(wait) for wait in waits])

    async def WatchJobs(
        self, request: rpc.WatchJobsRequest, context: Context
    ) -> AsyncIterator[rpc.WatchJobsResponse]:
        request_ids = list(request.request_ids)
        watcher = Watcher()
        self._watchers.add(watcher, request_ids)
        try:
            yield rpc.WatchJobsResponse(
                events=[
                    encode_event(event)
                    for request_id in request_ids
                    for event in self._runner.started(request_id)
                ]
            )
            async for events in watcher.batches():
                for start in range(0, len(events), EVENTS_PER_RESPONSE):
                    part = events[start : start + EVENTS_PER_RESPONSE]
                    yield rpc.WatchJobsResponse(events=[encode_event(event) for event in part])
        finally:
            self._watchers.remove(watcher, request_ids)

    def _check_addressee(self, runner_id: str) -> None:
        if runner_id not in ("", self._runner_id()):
            raise WrongRunner(runner_id, self._runner_id())
