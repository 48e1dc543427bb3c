"""Requests: create, find, look at, start, stop."""

from __future__ import annotations

from functools import partial
from urllib.parse import quote

from spincycle.batching.byte_lru import ByteLru
from spincycle.errors import ChainTooLarge, InvalidInput, SpinCycleError
from spincycle.gateway.backends import ServiceClient
from spincycle.gateway.decode import decode
from spincycle.gateway.deduplicated_calls import DeduplicatedCalls
from spincycle.gateway.exchange import HttpRequest, HttpResponse, nothing
from spincycle.gateway.filters import parse_filter, parse_number
from spincycle.gateway.paging import ListPage, joined
from spincycle.gateway.router import Parameter, Route
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
"""How many times as long as other calls a create may take: 100,000 jobs are made in seconds."""

TEXT_BYTES = 16 * 1024 * 1024
"""Bytes of answers that are kept beside their JSON: the same answer gives the same text."""

LARGE = 64 * 1024
"""Bytes of an answer from which its JSON is made in a thread."""

_ONE = -1

IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "names this wish: the same key with the same content answers the same request",
    where="header",
)
FILTERS = (
    Parameter("type", "only requests of this type"),
    Parameter("user", "only requests of this user"),
    Parameter("state", "only requests in this state, for example RUNNING", repeated=True),
    Parameter("arg", "only requests that were given this argument, name=value", repeated=True),
    Parameter("since", "only requests that finished after this time, or have not finished"),
    Parameter("until", "only requests that were created before this time"),
    Parameter("limit", "most requests to answer; 0 means all", type="integer"),
    Parameter("offset", "how many to leave out first", type="integer"),
    Parameter("page_token", f"answer one page; {NEXT_PAGE} of an answer names the next one"),
)


class RequestRoutes:
    """What people do with requests."""

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
        """The routes."""
        return [
            Route(
                "POST", BASE, self.create, "create a request and start it",
                body=CREATE_REQUEST, answer=CREATED_REQUEST, status=201,
                failures=(400, 409, 415), parameters=(IDEMPOTENCY_KEY,), of_original=True,
            ),
            Route(
                "GET", BASE, self.find, "find requests, newest first",
                answer=ListOf(LISTED_REQUEST, null=True), failures=(400,), parameters=FILTERS,
            ),
            Route(
                "GET", ONE, self.get, "a request with its arguments and its chain",
                answer=REQUEST, failures=(404,),
            ),
            Route(
                "PUT", ONE + "/start", self.start, "start a request that is PENDING",
                failures=(404, 409), of_original=True,
            ),
            Route(
                "PUT", ONE + "/stop", self.stop, "stop a request for good",
                failures=(404, 409), parameters=(Parameter("reason", "why; kept on record"),),
                of_original=True,
            ),
            Route(
                "GET", ONE + "/job-chain", self.job_chain, "the chain of a request as created",
                answer=JOB_CHAIN, failures=(404,),
            ),
            Route(
                "GET", "/api/v1/request-list", self.specs, "what can be created",
                answer=ListOf(REQUEST_SPEC),
            ),
        ]  # fmt: skip

    async def create(self, call: HttpRequest) -> HttpResponse:
        """201 with the request and where it is."""
        asked = await decode(call, CREATE_REQUEST)
        if not asked.type:
            raise InvalidInput("Type is empty, must be a request name", "type")
        asked.user = ""
        asked.idempotency_key = call.headers.get("idempotency-key", asked.idempotency_key)
        answer = await self._manager.ask(self._manager.stub.Create, asked, CREATE_TIMES)
        return created(answer.request)

    async def find(self, call: HttpRequest) -> HttpResponse:
        """The requests that match, as they come; null if there are none."""
        wanted = parse_filter(call.query)
        if "page_token" in call.query:
            return await self._one_page(wanted, call.first("page_token"))
        most = parse_number(call.query, "limit")
        page_size = min(most or self._page_size, self._page_size)
        wanted.ClearField("limit")
        raw = await self._raw_page(wanted, page_size, "")
        text = self._texts.get((raw, most))
        if text is not None:
            return HttpResponse(text)
        first = await off_loop(len(raw) >= LARGE, lambda: _page(raw))
        if first.elements and (not first.following or len(first.elements) >= most > 0):
            text = to_text(list(first.elements[: most or None]))
            self._texts.keep((raw, most), text, len(raw))
            return HttpResponse(text)
        following = partial(self._page, wanted, page_size)
        return await joined(first, following, b"null", most)

    async def _one_page(self, wanted: request_pb2.RequestFilter, token: str) -> HttpResponse:
        page_size = min(wanted.limit or self._page_size, self._page_size)
        wanted.ClearField("limit")
        page = await self._page(wanted, page_size, token)
        body = to_text(list(page.elements) or None)
        return HttpResponse(body, headers={NEXT_PAGE: page.following} if page.following else {})

    async def _page(
        self, wanted: request_pb2.RequestFilter, page_size: int, token: str
    ) -> ListPage:
        raw = await self._raw_page(wanted, page_size, token)
        return await off_loop(len(raw) >= LARGE, lambda: _page(raw))

    async def _raw_page(
        self, wanted: request_pb2.RequestFilter, page_size: int, token: str
    ) -> bytes:
        asked = rm.ListRequest(filter=wanted, page_size=page_size, page_token=token)
        return await self._list.ask(asked)

    async def get(self, call: HttpRequest) -> HttpResponse:
        """The request with its chain."""
        request_id = call.params["request_id"]
        asked = rm.GetRequest(request_id=request_id, include_job_chain=True)
        try:
            raw = await self._get.ask(asked)
        except SpinCycleError as error:
            if error.reason != ChainTooLarge.reason:
                raise
            asked.include_job_chain = False
            answer = await self._manager.ask(self._manager.stub.Get, asked)
            answer.request.job_chain.CopyFrom(await self._whole_chain(request_id))
            size = answer.ByteSize()
            return HttpResponse(await off_loop(size >= LARGE, lambda: _text(answer)))
        text = self._texts.get((raw, _ONE))
        if text is None:
            is_large = len(raw) >= LARGE
            text = await off_loop(is_large, lambda: _text(rm.GetResponse.FromString(raw)))
            self._texts.keep((raw, _ONE), text, len(raw))
        return HttpResponse(text)

    async def start(self, call: HttpRequest) -> HttpResponse:
        """200 and nothing."""
        asked = rm.StartRequest(request_id=call.params["request_id"])
        await self._manager.ask(self._manager.stub.Start, asked)
        return nothing()

    async def stop(self, call: HttpRequest) -> HttpResponse:
        """200 and nothing."""
        asked = rm.StopRequest(request_id=call.params["request_id"], reason=call.first("reason"))
        await self._manager.ask(self._manager.stub.Stop, asked)
        return nothing()

    async def job_chain(self, call: HttpRequest) -> HttpResponse:
        """The chain."""
        request_id = call.params["request_id"]
        asked = rm.GetJobChainRequest(request_id=request_id)
        try:
            answer = await self._manager.ask(self._manager.stub.GetJobChain, asked)
            chain = answer.job_chain
        except SpinCycleError as error:
            if error.reason != ChainTooLarge.reason:
                raise
            chain = await self._whole_chain(request_id)
        is_large = chain.ByteSize() >= LARGE
        return HttpResponse(await off_loop(is_large, lambda: to_text(JOB_CHAIN.encode(chain))))

    async def _whole_chain(self, request_id: str) -> job_chain_pb2.JobChain:
        chain = job_chain_pb2.JobChain()
        asked = rm.StreamJobChainRequest(request_id=request_id)
        with self._manager.failures():
            async for answer in self._manager.stub.StreamJobChain(
                asked, timeout=self._manager.timeout
            ):
                chain.MergeFrom(answer.part)
        return chain

    async def specs(self, _: HttpRequest) -> HttpResponse:
        """The specs by name."""
        specs = await list_specs(self._specs)
        return HttpResponse(to_text([REQUEST_SPEC.encode(spec) for spec in specs]))


def _text(answer: rm.GetResponse) -> bytes:
    return to_text(REQUEST.encode(with_url(answer.request)))


def _page(raw: bytes) -> ListPage:
    answer = rm.ListResponse.FromString(raw)
    return ListPage(
        [LISTED_REQUEST.encode(with_url(request)) for request in answer.requests],
        answer.next_page_token,
    )


def with_url(request: request_pb2.Request) -> request_pb2.Request:
    """The same message with the runner's base URL in place of its address, while it has one.

    A Unix socket has no URL and stays as it is.
    """
    if request.state != state_pb2.STATE_RUNNING:
        request.runner_address = ""
    elif request.runner_address and not is_unix(request.runner_address):
        request.runner_address = f"http://{request.runner_address}"
    return request


def created(request: request_pb2.Request) -> HttpResponse:
    """201 for a request that was just made."""
    location = f"{BASE}/{quote(request.id, safe='')}"
    return HttpResponse(
        to_text(CREATED_REQUEST.encode(request)), 201, headers={"Location": location}
    )
