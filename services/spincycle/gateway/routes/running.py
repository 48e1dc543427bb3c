"""What is running now, and which version this is."""

from __future__ import annotations

from spincycle.gateway.backends import ServiceClient
from spincycle.gateway.exchange import HttpRequest, HttpResponse
from spincycle.gateway.filters import parse_number
from spincycle.gateway.router import Parameter, Route
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.messages import RUNNING_STATUS
from spincycle.runtime.version import VERSION
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import status_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

PLAIN_TEXT = "text/plain; charset=UTF-8"
REQUEST_ID = Parameter("requestId", "only jobs of this request")
LIMIT = Parameter("limit", "most jobs to answer, the longest running first", type="integer")

MOST = 2**32 - 1
"""Largest limit that a message holds."""


class RunningRoutes:
    """Running jobs of all runners."""

    def __init__(self, request_manager: ServiceClient[RequestManagerServiceStub]) -> None:
        self._manager = request_manager

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route(
                "GET", "/api/v1/status/running", self.running, "every job that is being run",
                answer=RUNNING_STATUS,
                failures=(400,),
                parameters=(REQUEST_ID, LIMIT, Parameter("orderBy", "only startTime exists")),
            ),
            version_route(),
        ]  # fmt: skip

    async def running(self, call: HttpRequest) -> HttpResponse:
        """The jobs by start; nulls if no request is RUNNING."""
        wanted = status_pb2.StatusFilter(
            request_id=call.first("requestId"), limit=min(parse_number(call.query, "limit"), MOST)
        )
        asked = rm.ListRunningJobsRequest(filter=wanted)
        answer = await self._manager.ask(self._manager.stub.ListRunningJobs, asked)
        while wanted.limit and answer.next_page_token:
            asked.page_token = answer.next_page_token
            page = await self._manager.ask(self._manager.stub.ListRunningJobs, asked)
            answer.status.MergeFrom(page.status)
            answer.next_page_token = page.next_page_token
        body = RUNNING_STATUS.encode(answer.status)
        if answer.has_running_requests:
            body = {"jobs": body["jobs"] or [], "requests": body["requests"] or {}}
        return HttpResponse(to_text(body))


def version_route() -> Route:
    """The version, as plain text without a newline."""

    async def version(_: HttpRequest) -> HttpResponse:
        return HttpResponse(VERSION.encode(), content_type=PLAIN_TEXT)

    return Route("GET", "/version", version, "the version", answer_type=PLAIN_TEXT)
