"""What the original's shapes leave out: the same reads with all that the services tell."""

from __future__ import annotations

from spincycle.gateway.backends import ServiceClient
from spincycle.gateway.exchange import HttpRequest, HttpResponse
from spincycle.gateway.filters import parse_filter, parse_number
from spincycle.gateway.paging import ListPage, joined
from spincycle.gateway.router import Parameter, Route
from spincycle.gateway.routes.requests import FILTERS, LARGE
from spincycle.gateway.routes.running import REQUEST_ID
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
    Parameter("failed", "true: only entries of tries that failed"),
    Parameter("withoutOutput", "true: without stdout, stderr and job data"),
)


class FullRoutes:
    """Reads for clients that know what is new."""

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
        """The routes."""
        return [
            Route(
                "GET", FULL + "/request-list", self.specs, "what can be created, in full",
                answer=ListOf(FULL_SPEC),
            ),
            Route(
                "GET", FULL + "/requests", self.find, "find requests, newest first, in full",
                answer=ListOf(FULL_REQUEST), failures=(400,),
                parameters=tuple(one for one in FILTERS if one.name != "page_token"),
            ),
            Route(
                "GET", FULL + "/requests/{request_id}", self.get,
                "a request with its arguments and without its chain, in full",
                answer=FULL_REQUEST, failures=(404,),
            ),
            Route(
                "GET", FULL + "/requests/{request_id}/log", self.entries,
                "every try of every job of a request as it was stored, in full",
                answer=ListOf(FULL_ENTRY), parameters=_ENTRY_FILTERS,
            ),
            Route(
                "GET", FULL + "/status/running", self.running,
                "every job that is being run, in full",
                answer=FULL_RUNNING, parameters=(REQUEST_ID,),
            ),
        ]  # fmt: skip

    async def specs(self, _: HttpRequest) -> HttpResponse:
        """The specs by name."""
        specs = await list_specs(self._specs)
        return HttpResponse(to_text([FULL_SPEC.encode(spec) for spec in specs]))

    async def find(self, call: HttpRequest) -> HttpResponse:
        """The requests that match, as they come."""
        wanted = parse_filter(call.query)
        most = parse_number(call.query, "limit")
        page_size = min(most or self._page_size, self._page_size)
        wanted.ClearField("limit")

        async def page(token: str) -> ListPage:
            asked = rm.ListRequest(filter=wanted, page_size=page_size, page_token=token)
            answer = await self._manager.ask(self._manager.stub.List, asked)
            elements = await off_loop(
                answer.ByteSize() >= LARGE,
                lambda: [FULL_REQUEST.encode(one) for one in answer.requests],
            )
            return ListPage(elements, answer.next_page_token)

        return await joined(await page(""), page, b"[]", most)

    async def get(self, call: HttpRequest) -> HttpResponse:
        """The request."""
        asked = rm.GetRequest(request_id=call.params["request_id"])
        answer = await self._manager.ask(self._manager.stub.Get, asked)
        is_large = answer.ByteSize() >= LARGE
        return HttpResponse(
            await off_loop(is_large, lambda: to_text(FULL_REQUEST.encode(answer.request)))
        )

    async def entries(self, call: HttpRequest) -> HttpResponse:
        """The entries that match, in the order of the journal, as they come."""
        whole = call.first("withoutOutput") != "true"
        asked = jl.ListEntriesRequest(
            request_id=call.params["request_id"],
            order=jl.ENTRY_ORDER_POSITION,
            job_id=call.first("jobId"),
            failed_only=call.first("failed") == "true",
            include_output=whole,
            include_data=whole,
        )

        async def page(token: str) -> ListPage:
            asked.page_token = token
            answer = await self._log.ask(self._log.stub.ListEntries, asked)
            elements = await off_loop(
                answer.ByteSize() >= LARGE,
                lambda: [FULL_ENTRY.encode(one) for one in answer.entries],
            )
            return ListPage(elements, answer.next_page_token)

        return await joined(await page(""), page, b"[]")

    async def running(self, call: HttpRequest) -> HttpResponse:
        """The jobs by start, and runners that are silent."""
        asked = rm.ListRunningJobsRequest(
            filter=status_pb2.StatusFilter(request_id=call.first("requestId"))
        )
        answer = await self._manager.ask(self._manager.stub.ListRunningJobs, asked)
        return HttpResponse(to_text(FULL_RUNNING.encode(answer)))
