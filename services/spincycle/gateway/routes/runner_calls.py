"""Routes that the original's job runners call for the requests that they run."""

from __future__ import annotations

from collections.abc import AsyncIterator

from spincycle.errors import (
    InvalidInput,
    InvalidState,
    RequestNotFound,
    ServiceUnavailable,
    SpinCycleError,
)
from spincycle.gateway.decode import decode
from spincycle.gateway.http_messages import HttpRequest, HttpResponse, nothing
from spincycle.gateway.router import Route
from spincycle.gateway.routes.requests import ONE
from spincycle.gateway.service_clients import ServiceClient
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.internal.v1.runner_coordination_service_pb2_grpc import (
    RunnerCoordinationServiceStub,
)
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.messages import (
    FINISH_REQUEST,
    JOB_LOG,
    REQUEST_PROGRESS,
    SUSPENDED_JOB_CHAIN,
)
from spincycle.rpc.status import from_message
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import request_pb2, state_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

_IGNORED = frozenset({RequestNotFound.reason, InvalidState.reason})
"""Reasons for which progress is ignored: it is late, or the request does not exist."""


class RunnerCallRoutes:
    """Routes to finish and suspend requests, report progress, and add journal entries.

    The original's runners send no runner id and no epoch; both are read from the request, by the
    gateway for itself: these runners have no credentials.
    """

    def __init__(
        self,
        request_manager: ServiceClient[RequestManagerServiceStub],
        coordination: ServiceClient[RunnerCoordinationServiceStub],
        journal: ServiceClient[JournalServiceStub],
    ) -> None:
        self._manager = request_manager
        self._coordination = coordination
        self._journal = journal

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                "PUT", ONE + "/finish", self.finish,
                "report the end of a request; called by runners",
                body=FINISH_REQUEST, failures=(400, 404, 409, 415),
                of_original=True, anonymous=True,
            ),
            Route(
                "PUT", ONE + "/suspend", self.suspend,
                "save the state of a suspended request; called by runners",
                body=SUSPENDED_JOB_CHAIN, failures=(400, 404, 409, 415),
                of_original=True, anonymous=True,
            ),
            Route(
                "PUT", ONE + "/progress", self.progress,
                "report the progress of a request; called by runners",
                body=REQUEST_PROGRESS, failures=(400, 415),
                of_original=True, anonymous=True,
            ),
            Route(
                "POST", ONE + "/log", self.add, "add an entry; called by runners",
                body=JOB_LOG, response=JOB_LOG, status=201, failures=(400, 409, 415),
                of_original=True, anonymous=True,
            ),
        ]  # fmt: skip

    async def finish(self, http: HttpRequest) -> HttpResponse:
        """Return an empty 200; the request id is that of the path."""
        message = await decode(http, FINISH_REQUEST)
        message.request_id = http.params["request_id"]
        message.epoch = (await self._running(message.request_id)).epoch
        await self._coordination.call(self._coordination.stub.Finish, message)
        return nothing()

    async def suspend(self, http: HttpRequest) -> HttpResponse:
        """Return an empty 200."""
        saved = await decode(http, SUSPENDED_JOB_CHAIN)
        request_id = http.params["request_id"]
        saved.request_id = saved.request_id or request_id
        _check_id("proto.SuspendedJobChain", saved.request_id, request_id)
        if not saved.HasField("job_chain"):
            raise InvalidInput("invalid proto.SuspendedJobChain: jobChain must be set", "jobChain")
        request = await self._running(request_id)
        saved.epoch = request.epoch
        report = coordination_pb2.RunnerReport(suspended=saved)
        await self._report(request.runner_id, report)
        return nothing()

    async def progress(self, http: HttpRequest) -> HttpResponse:
        """Return 200 and null, also if the request does not exist or is not RUNNING."""
        progress = await decode(http, REQUEST_PROGRESS)
        if not progress.request_id:
            raise InvalidInput(
                "invalid proto.StatusProgress: RequestId is empty, must be set", "requestId"
            )
        _check_id("proto.StatusProgress", progress.request_id, http.params["request_id"])
        try:
            request = await self._running(progress.request_id)
            progress.epoch = request.epoch
            await self._report(request.runner_id, coordination_pb2.RunnerReport(progress=progress))
        except SpinCycleError as refused:
            if refused.reason not in _IGNORED:
                raise
        return HttpResponse(to_text(None))

    async def add(self, http: HttpRequest) -> HttpResponse:
        """Return 201 with the entry; the request id is that of the path."""
        entry = await decode(http, JOB_LOG)
        entry.request_id = http.params["request_id"]
        await self._append(journal_pb2.AppendRequest(batch=1, entries=[entry]))
        return HttpResponse(to_text(JOB_LOG.encode(entry)), 201)

    async def _append(self, batch: journal_pb2.AppendRequest) -> None:
        async def batches() -> AsyncIterator[journal_pb2.AppendRequest]:
            yield batch

        with self._journal.translate_errors():
            async for response in self._journal.stub.Append(
                batches(), timeout=self._journal.timeout
            ):
                for refused in response.refused:
                    raise from_message(refused.error)
                if response.batch >= batch.batch:
                    return
        raise ServiceUnavailable(self._journal.name, self._journal.address)

    async def _running(self, request_id: str) -> request_pb2.Request:
        """Return a RUNNING request, whose runner and epoch are those of the caller.

        Raises:
            RequestNotFound: the request does not exist.
            InvalidState: the request is not RUNNING.
        """
        message = rm.GetRequest(request_id=request_id)
        request = (await self._manager.call(self._manager.stub.Get, message)).request
        if request.state != state_pb2.STATE_RUNNING:
            state = state_pb2.State.Name(request.state).removeprefix("STATE_")
            raise InvalidState(request_id, state, "RUNNING")
        return request

    async def _report(self, runner_id: str, report: coordination_pb2.RunnerReport) -> None:
        message = coordination_pb2.ReportRequest(runner_id=runner_id, reports=[report])
        response = await self._coordination.call(self._coordination.stub.Report, message)
        for result in response.results:
            if result.HasField("refused"):
                raise from_message(result.refused)


def _check_id(message: str, given: str, expected: str) -> None:
    if given != expected:
        raise InvalidInput(
            f"invalid {message}: RequestId={given} does not match request ID in URL: {expected}",
            "requestId",
        )
