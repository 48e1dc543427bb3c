"""Reads with all fields of the gRPC API, which the original's payloads lack."""

from __future__ import annotations

from spincycle.gateway.filters import parse_filter, parse_number
from spincycle.gateway.http_messages import HttpRequest, HttpResponse
from spincycle.gateway.paging import ListPage, joined
from spincycle.gateway.router import Parameter, Route
from spincycle.gateway.routes.requests import FILTERS, LARGE
from spincycle.gateway.routes.running import REQUEST_ID
from spincycle.gateway.service_clients import ServiceClient
from spincycle.gateway.spec_list import list_specs
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.full import FULL_ENTRY, FULL_REQUEST, FULL_RUNNING, FULL_SPEC
from spincycle.rest_codec.tables import ListOf
from spincycle.runtime.off_loop import off_loop
from spincycle.v1 import job_log_service_pb2 as jl
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import status_pb2
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub
from spincycle.v1.spec_service_pb2_grpc import SpecServiceStub

FULL = "/api/v1/full"

_ENTRY_FILTERS = (
    Parameter("jobId", "only entries of this job"),
    Parameter("failed", "true: only entries of failed tries"),
    Parameter("withoutOutput", "true: without stdout, stderr and job data"),
)


class FullRoutes:
    """Routes of reads in full."""

    def __init__(
        self,
        request_manager: ServiceClient[RequestManagerServiceStub],
        specs: ServiceClient[SpecServiceStub],
        job_log: ServiceClient[JobLogServiceStub],
        page_size: int,
    ) -> None:
        self._manager = request_manager
        self._specs = specs
        self._log = job_log
        self._page_size = page_size

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                "GET", FULL + "/request-list", self.specs,
                "list the requests that can be created, in full",
                response=ListOf(FULL_SPEC),
            ),
            Route(
                "GET", FULL + "/requests", self.find, "find requests, newest first, in full",
                response=ListOf(FULL_REQUEST), failures=(400,),
                parameters=tuple(one for one in FILTERS if one.name != "page_token"),
            ),
            Route(
                "GET", FULL + "/requests/{request_id}", self.get,
                "return a request with its arguments and without its chain, in full",
                response=FULL_REQUEST, failures=(404,),
            ),
            Route(
                "GET", FULL + "/requests/{request_id}/log", self.entries,
                "list every try of every job of a request in stored order, in full",
                response=ListOf(FULL_ENTRY), parameters=_ENTRY_FILTERS,
            ),
            Route(
                "GET", FULL + "/status/running", self.running,
                "list all running jobs, in full",
                response=FULL_RUNNING, parameters=(REQUEST_ID,),
            ),
        ]  # fmt: skip

    async def specs(self, _: HttpRequest) -> HttpResponse:
        """Return the specs, by name."""
        specs = await list_specs(self._specs)
        return HttpResponse(to_text([FULL_SPEC.encode(spec) for spec in specs]))

    async def find(self, http: HttpRequest) -> HttpResponse:
        """Return the matching requests, streamed page by page."""
        request_filter = parse_filter(http.query)
        limit = parse_number(http.query, "limit")
        page_size = min(limit or self._page_size, self._page_size)
        if not request_filter.offset:
            request_filter.ClearField("limit")

        async def page(token: str) -> ListPage:
            message = rm.ListRequest(filter=request_filter, page_size=page_size, page_token=token)
            response = await self._manager.call(self._manager.stub.List, message)
            elements = await off_loop(
                response.ByteSize() >= LARGE,
                lambda: [FULL_REQUEST.encode(one) for one in response.requests],
            )
            return ListPage(elements, response.next_page_token)

        return await joined(await page(""), page, b"[]", limit)

    async def get(self, http: HttpRequest) -> HttpResponse:
        """Return the request."""
        message = rm.GetRequest(request_id=http.params["request_id"])
        response = await self._manager.call(self._manager.stub.Get, message)
        is_large = response.ByteSize() >= LARGE
        return HttpResponse(
            await off_loop(is_large, lambda: to_text(FULL_REQUEST.encode(response.request)))
        )

    async def entries(self, http: HttpRequest) -> HttpResponse:
        """Return the matching entries in journal order, streamed page by page."""
        whole = http.first("withoutOutput") != "true"
        message = jl.ListEntriesRequest(
            request_id=http.params["request_id"],
            order=jl.ENTRY_ORDER_POSITION,
            job_id=http.first("jobId"),
            failed_only=http.first("failed") == "true",
            include_output=whole,
            include_data=whole,
        )

        async def page(token: str) -> ListPage:
            message.page_token = token
            response = await self._log.call(self._log.stub.ListEntries, message)
            elements = await off_loop(
                response.ByteSize() >= LARGE,
                lambda: [FULL_ENTRY.encode(one) for one in response.entries],
            )
            return ListPage(elements, response.next_page_token)

        return await joined(await page(""), page, b"[]")

    async def running(self, http: HttpRequest) -> HttpResponse:
        """Return the running jobs by start time, and the silent runners."""
        message = rm.ListRunningJobsRequest(
            filter=status_pb2.StatusFilter(request_id=http.first("requestId"))
        )
        response = await self._manager.call(self._manager.stub.ListRunningJobs, message)
        return HttpResponse(to_text(FULL_RUNNING.encode(response)))
