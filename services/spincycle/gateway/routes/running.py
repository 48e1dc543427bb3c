"""Routes of running jobs and of the version."""

from __future__ import annotations

from spincycle.gateway.filters import parse_number
from spincycle.gateway.http_messages import HttpRequest, HttpResponse
from spincycle.gateway.router import Parameter, Route
from spincycle.gateway.service_clients import ServiceClient
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.messages import RUNNING_STATUS
from spincycle.runtime.version import VERSION
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import status_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

PLAIN_TEXT = "text/plain; charset=UTF-8"
REQUEST_ID = Parameter("requestId", "only jobs of this request")
LIMIT = Parameter("limit", "most jobs to return, the longest running first", type="integer")

_UINT32_MAX = 2**32 - 1


class RunningRoutes:
    """Routes of the running jobs of all runners."""

    def __init__(self, request_manager: ServiceClient[RequestManagerServiceStub]) -> None:
        self._manager = request_manager

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                "GET", "/api/v1/status/running", self.running, "list all running jobs",
                response=RUNNING_STATUS,
                failures=(400,),
                parameters=(REQUEST_ID, LIMIT, Parameter("orderBy", "startTime is the only order")),
            ),
            version_route(),
        ]  # fmt: skip

    async def running(self, http: HttpRequest) -> HttpResponse:
        """Return the jobs by start time; nulls if no request is RUNNING."""
        status_filter = status_pb2.StatusFilter(
            request_id=http.first("requestId"),
            limit=min(parse_number(http.query, "limit"), _UINT32_MAX),
        )
        message = rm.ListRunningJobsRequest(filter=status_filter)
        response = await self._manager.call(self._manager.stub.ListRunningJobs, message)
        while status_filter.limit and response.next_page_token:
            message.page_token = response.next_page_token
            page = await self._manager.call(self._manager.stub.ListRunningJobs, message)
            response.status.MergeFrom(page.status)
            response.next_page_token = page.next_page_token
        body = RUNNING_STATUS.encode(response.status)
        if response.has_running_requests:
            body = {"jobs": body["jobs"] or [], "requests": body["requests"] or {}}
        return HttpResponse(to_text(body))


def version_route() -> Route:
    """Return the route of the version, as plain text without a newline."""

    async def version(_: HttpRequest) -> HttpResponse:
        return HttpResponse(VERSION.encode(), content_type=PLAIN_TEXT)

    return Route(
        "GET", "/version", version, "return the version", response_type=PLAIN_TEXT, anonymous=True
    )
