"""Routes to create, find, read, start and stop requests."""

from __future__ import annotations

from functools import partial
from urllib.parse import quote

from spincycle.batching.byte_lru import ByteLru
from spincycle.errors import ChainTooLarge, InvalidInput, SpinCycleError
from spincycle.gateway.decode import decode
from spincycle.gateway.deduplicated_calls import DeduplicatedCalls
from spincycle.gateway.filters import UINT32_MAX, parse_filter, parse_number
from spincycle.gateway.http_messages import HttpRequest, HttpResponse, nothing
from spincycle.gateway.paging import ListPage, joined
from spincycle.gateway.router import Parameter, Route
from spincycle.gateway.service_clients import ServiceClient
from spincycle.gateway.spec_list import list_specs
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.messages import (
    CREATE_REQUEST,
    CREATED_REQUEST,
    JOB_CHAIN,
    LISTED_REQUEST,
    REQUEST,
    REQUEST_SPEC,
)
from spincycle.rest_codec.tables import ListOf
from spincycle.rpc.address import is_unix
from spincycle.runtime.off_loop import off_loop
from spincycle.v1 import job_chain_pb2, request_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub
from spincycle.v1.spec_service_pb2_grpc import SpecServiceStub

BASE = "/api/v1/requests"
ONE = BASE + "/{request_id}"
NEXT_PAGE = "X-Next-Page-Token"
REQUEST_MANAGER = "spincycle.v1.RequestManagerService"

CREATE_TIMES = 6
"""Factor of the deadline of a create: a chain of 100,000 jobs takes seconds."""

TEXT_BYTES = 16 * 1024 * 1024
"""Size of the cache from gRPC responses to their JSON texts, in bytes of responses."""

LARGE = 64 * 1024
"""Bytes of a response from which on its JSON is encoded in a thread."""

_ONE = -1

IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "identifies this create: repeating it with the same key and body returns the same request",
    where="header",
)
FILTERS = (
    Parameter("type", "only requests of this type"),
    Parameter("user", "only requests of this user"),
    Parameter("state", "only requests in this state, for example RUNNING", repeated=True),
    Parameter("arg", "only requests with this argument, name=value", repeated=True),
    Parameter("since", "only requests that finished after this time, or are unfinished"),
    Parameter("until", "only requests created before this time"),
    Parameter("limit", "most requests to return; 0 for all", type="integer"),
    Parameter("offset", "number of requests to skip; ignored without limit", type="integer"),
    Parameter(
        "page_token", f"return one page, at first with an empty token; then that of {NEXT_PAGE}"
    ),
)


class RequestRoutes:
    """Routes of the original's request manager for its users."""

    def __init__(
        self,
        request_manager: ServiceClient[RequestManagerServiceStub],
        specs: ServiceClient[SpecServiceStub],
        page_size: int,
    ) -> None:
        self._manager = request_manager
        self._specs = specs
        self._page_size = page_size
        self._get = DeduplicatedCalls[rm.GetRequest](request_manager, f"/{REQUEST_MANAGER}/Get")
        self._list = DeduplicatedCalls[rm.ListRequest](request_manager, f"/{REQUEST_MANAGER}/List")
        self._texts: ByteLru[tuple[bytes, int]] = ByteLru(TEXT_BYTES, TEXT_BYTES // 16)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                "POST", BASE, self.create, "create a request and start it",
                body=CREATE_REQUEST, response=CREATED_REQUEST, status=201,
                failures=(400, 409, 415, 429), parameters=(IDEMPOTENCY_KEY,), of_original=True,
            ),
            Route(
                "GET", BASE, self.find, "find requests, newest first",
                response=ListOf(LISTED_REQUEST, null=True), failures=(400,), parameters=FILTERS,
            ),
            Route(
                "GET", ONE, self.get, "return a request with its arguments and its chain",
                response=REQUEST, failures=(404,),
            ),
            Route(
                "PUT", ONE + "/start", self.start, "start a request that is PENDING",
                failures=(404, 409), of_original=True,
            ),
            Route(
                "PUT", ONE + "/stop", self.stop, "stop a request permanently",
                failures=(404, 409), of_original=True,
                parameters=(Parameter("reason", "why; stored with the request"),),
            ),
            Route(
                "GET", ONE + "/job-chain", self.job_chain,
                "return the chain of a request as created",
                response=JOB_CHAIN, failures=(404,),
            ),
            Route(
                "GET", "/api/v1/request-list", self.specs, "list the requests that can be created",
                response=ListOf(REQUEST_SPEC),
            ),
        ]  # fmt: skip

    async def create(self, http: HttpRequest) -> HttpResponse:
        """Return 201 with the request and its location."""
        message = await decode(http, CREATE_REQUEST)
        if not message.type:
            raise InvalidInput("Type is empty, must be a request name", "type")
        message.user = ""
        message.idempotency_key = http.headers.get("idempotency-key", message.idempotency_key)
        response = await self._manager.call(self._manager.stub.Create, message, CREATE_TIMES)
        return created(response.request)

    async def find(self, http: HttpRequest) -> HttpResponse:
        """Return the matching requests, streamed page by page; null if there are none."""
        request_filter = parse_filter(http.query)
        if "page_token" in http.query:
            return await self._one_page(request_filter, http.first("page_token"))
        limit = parse_number(http.query, "limit")
        page_size = min(limit or self._page_size, self._page_size)
        if not request_filter.offset:
            request_filter.ClearField("limit")
        raw = await self._raw_page(request_filter, page_size, "")
        text = self._texts.get((raw, limit))
        if text is not None:
            return HttpResponse(text)
        first = await off_loop(len(raw) >= LARGE, lambda: _page(raw))
        if first.elements and (not first.next_token or len(first.elements) >= limit > 0):
            text = to_text(list(first.elements[: limit or None]))
            self._texts.put((raw, limit), text, len(raw))
            return HttpResponse(text)
        following = partial(self._page, request_filter, page_size)
        return await joined(first, following, b"null", limit)

    async def _one_page(
        self, request_filter: request_pb2.RequestFilter, token: str
    ) -> HttpResponse:
        page_size = min(request_filter.limit or self._page_size, self._page_size)
        # Here `limit` is the size of a page: all pages together have none.
        request_filter.limit = UINT32_MAX if request_filter.offset else 0
        page = await self._page(request_filter, page_size, token)
        body = to_text(list(page.elements) or None)
        return HttpResponse(body, headers={NEXT_PAGE: page.next_token} if page.next_token else {})

    async def _page(
        self, request_filter: request_pb2.RequestFilter, page_size: int, token: str
    ) -> ListPage:
        raw = await self._raw_page(request_filter, page_size, token)
        return await off_loop(len(raw) >= LARGE, lambda: _page(raw))

    async def _raw_page(
        self, request_filter: request_pb2.RequestFilter, page_size: int, token: str
    ) -> bytes:
        return await self._list.call(
            rm.ListRequest(filter=request_filter, page_size=page_size, page_token=token)
        )

    async def get(self, http: HttpRequest) -> HttpResponse:
        """Return the request with its chain."""
        request_id = http.params["request_id"]
        message = rm.GetRequest(request_id=request_id, include_job_chain=True)
        try:
            raw = await self._get.call(message)
        except SpinCycleError as error:
            if error.reason != ChainTooLarge.reason:
                raise
            message.include_job_chain = False
            response = await self._manager.call(self._manager.stub.Get, message)
            response.request.job_chain.CopyFrom(await self._whole_chain(request_id))
            size = response.ByteSize()
            return HttpResponse(await off_loop(size >= LARGE, lambda: _text(response)))
        text = self._texts.get((raw, _ONE))
        if text is None:
            is_large = len(raw) >= LARGE
            text = await off_loop(is_large, lambda: _text(rm.GetResponse.FromString(raw)))
            self._texts.put((raw, _ONE), text, len(raw))
        return HttpResponse(text)

    async def start(self, http: HttpRequest) -> HttpResponse:
        """Return an empty 200."""
        message = rm.StartRequest(request_id=http.params["request_id"])
        await self._manager.call(self._manager.stub.Start, message)
        return nothing()

    async def stop(self, http: HttpRequest) -> HttpResponse:
        """Return an empty 200."""
        message = rm.StopRequest(request_id=http.params["request_id"], reason=http.first("reason"))
        await self._manager.call(self._manager.stub.Stop, message)
        return nothing()

    async def job_chain(self, http: HttpRequest) -> HttpResponse:
        """Return the chain."""
        request_id = http.params["request_id"]
        message = rm.GetJobChainRequest(request_id=request_id)
        try:
            response = await self._manager.call(self._manager.stub.GetJobChain, message)
            chain = response.job_chain
        except SpinCycleError as error:
            if error.reason != ChainTooLarge.reason:
                raise
            chain = await self._whole_chain(request_id)
        is_large = chain.ByteSize() >= LARGE
        return HttpResponse(await off_loop(is_large, lambda: to_text(JOB_CHAIN.encode(chain))))

    async def _whole_chain(self, request_id: str) -> job_chain_pb2.JobChain:
        chain = job_chain_pb2.JobChain()
        message = rm.StreamJobChainRequest(request_id=request_id)
        with self._manager.translate_errors():
            async for response in self._manager.stub.StreamJobChain(
                message, timeout=self._manager.timeout
            ):
                chain.MergeFrom(response.part)
        return chain

    async def specs(self, _: HttpRequest) -> HttpResponse:
        """Return the specs, by name."""
        specs = await list_specs(self._specs)
        return HttpResponse(to_text([REQUEST_SPEC.encode(spec) for spec in specs]))


def _text(response: rm.GetResponse) -> bytes:
    return to_text(REQUEST.encode(with_url(response.request)))


def _page(raw: bytes) -> ListPage:
    response = rm.ListResponse.FromString(raw)
    return ListPage(
        [LISTED_REQUEST.encode(with_url(request)) for request in response.requests],
        response.next_page_token,
    )


def with_url(request: request_pb2.Request) -> request_pb2.Request:
    """Replace the runner's address by its base URL in place; clear it unless RUNNING.

    The address of a Unix socket has no URL and is kept.
    """
    if request.state != state_pb2.STATE_RUNNING:
        request.runner_address = ""
    elif request.runner_address and not is_unix(request.runner_address):
        request.runner_address = f"http://{request.runner_address}"
    return request


def created(request: request_pb2.Request) -> HttpResponse:
    """Return 201 for a new request."""
    location = f"{BASE}/{quote(request.id, safe='')}"
    return HttpResponse(
        to_text(CREATED_REQUEST.encode(request)), 201, headers={"Location": location}
    )
