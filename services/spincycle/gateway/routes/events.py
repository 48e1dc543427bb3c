"""Changes of requests as server-sent events, as they happen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from spincycle.errors import RemoteError
from spincycle.gateway.backends import ServiceClient
from spincycle.gateway.exchange import HttpRequest, HttpResponse
from spincycle.gateway.filters import parse_filter
from spincycle.gateway.router import Parameter, Route
from spincycle.gateway.routes.requests import FILTERS, LARGE, ONE, with_url
from spincycle.rest_codec.encoding import to_part
from spincycle.rest_codec.extras import EVENT
from spincycle.rest_codec.messages import ERROR
from spincycle.rpc.status import to_message
from spincycle.runtime.off_loop import off_loop
from spincycle.v1 import request_event_pb2
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

EVENT_STREAM = "text/event-stream"
LAST_EVENT_ID = Parameter(
    "Last-Event-ID", "id of the last event that was seen: goes on after it", where="header"
)
_CURSOR = Parameter("cursor", "the same, where no header can be sent")
_CHAIN = Parameter("jobChain", "with true, snapshots show the chain")
_REQUESTS_ONLY = Parameter("requestsOnly", "with true, changes of jobs are left out")
_OUTPUT = Parameter("output", "with true, what running jobs print is told, too")
_FILTERS = tuple(known for known in FILTERS if known.name in {"type", "user", "state", "arg"})

Watch = grpc.aio.UnaryStreamCall[rm.WatchRequest, rm.WatchResponse]

_PATIENCE = 1.0
"""Seconds in which a refusal still becomes a status; later it becomes an event."""


class EventRoutes:
    """Streams of events, each for as long as its caller listens.

    Args:
        request_manager: where the events come from.
        keepalive: seconds of silence after which a comment is sent.
        most: most streams at once.
    """

    def __init__(
        self, request_manager: ServiceClient[RequestManagerServiceStub], keepalive: float, most: int
    ) -> None:
        self._manager = request_manager
        self._keepalive = keepalive
        self._most = most
        self._streams: set[EventStream] = set()

    def routes(self) -> list[Route]:
        """The routes."""
        known = (LAST_EVENT_ID, _CURSOR, _CHAIN, _REQUESTS_ONLY)
        return [
            Route(
                "GET", ONE + "/events", self.of_request, "every change of a request, until it ends",
                answer_type=EVENT_STREAM, failures=(400, 404, 410),
                parameters=(*known, _OUTPUT),
            ),
            Route(
                "GET", "/api/v1/events", self.of_all, "every change of all requests",
                answer_type=EVENT_STREAM, failures=(400, 410), parameters=(*known, *_FILTERS),
            ),
        ]  # fmt: skip

    def end(self) -> None:
        """End all streams; callers that come again go on where they were."""
        for stream in self._streams:
            stream.end()

    async def of_request(self, call: HttpRequest) -> HttpResponse:
        """The events of one request; the last is named end."""
        asked = rm.WatchRequest(
            request_ids=[call.params["request_id"]],
            include_live_output=call.first("output") == "true",
        )
        return await self._watch(call, asked)

    async def of_all(self, call: HttpRequest) -> HttpResponse:
        """The events of all requests that match."""
        wanted = parse_filter(call.query)
        for name in ("since", "until", "limit", "offset"):
            wanted.ClearField(name)
        return await self._watch(call, rm.WatchRequest(filter=wanted))

    async def _watch(self, call: HttpRequest, asked: rm.WatchRequest) -> HttpResponse:
        if len(self._streams) >= self._most:
            raise RemoteError(
                "too many streams of events; try again in a moment",
                reason="TOO_MANY_STREAMS", code="RESOURCE_EXHAUSTED", http=503, retryable=True,
            )  # fmt: skip
        asked.cursor = call.headers.get("last-event-id", "") or call.first("cursor")
        asked.include_job_chain = call.first("jobChain") == "true"
        asked.requests_only = call.first("requestsOnly") == "true"
        stream = EventStream(self._manager, asked, self._keepalive, self._streams)
        await stream.open()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return HttpResponse(stream, headers=headers, content_type=EVENT_STREAM, live=True)


class EventStream(AsyncIterator[bytes]):
    """One caller's stream; a member of `streams` while it is open."""

    def __init__(
        self,
        manager: ServiceClient[RequestManagerServiceStub],
        asked: rm.WatchRequest,
        keepalive: float,
        streams: set[EventStream],
    ) -> None:
        self._manager = manager
        self._keepalive = keepalive
        self._streams = streams
        self._watch: Watch = manager.stub.Watch(asked)
        self._reading = asyncio.ensure_future(self._watch.read())
        self._over = False
        streams.add(self)

    async def open(self) -> None:
        """Wait a little for the first events.

        Raises:
            SpinCycleError: the request manager refuses.
        """
        try:
            await asyncio.wait({self._reading}, timeout=_PATIENCE)
            if self._reading.done():
                with self._manager.failures():
                    self._reading.result()
        except BaseException:
            await self.aclose()
            raise

    def end(self) -> None:
        """End the stream from this side."""
        self._watch.cancel()

    async def aclose(self) -> None:
        """Let go of everything."""
        self._over = True
        self._streams.discard(self)
        self._watch.cancel()
        self._reading.cancel()
        await asyncio.wait({self._reading})
        if not self._reading.cancelled():
            self._reading.exception()

    async def __anext__(self) -> bytes:
        """The next events, or a comment if there are none for long."""
        if self._over:
            raise StopAsyncIteration
        await asyncio.wait({self._reading}, timeout=self._keepalive)
        if not self._reading.done():
            return b": still here\n\n"
        if self._reading.cancelled():
            raise StopAsyncIteration
        failure = self._reading.exception()
        if failure is not None:
            self._over = True
            return self._told(failure)
        response = self._reading.result()
        if not isinstance(response, rm.WatchResponse):
            self._over = True
            return b"event: end\ndata: {}\n\n"
        self._reading = asyncio.ensure_future(self._watch.read())
        events = response.events
        if not events:
            return place_text(response.cursor) or b":\n\n"
        # Of all requests a message has one cursor, after its last event.
        events[-1].cursor = response.cursor or events[-1].cursor
        is_large = response.ByteSize() >= LARGE
        return await off_loop(is_large, lambda: b"".join(map(event_text, events)))

    def _told(self, failure: BaseException) -> bytes:
        if not isinstance(failure, grpc.aio.AioRpcError):
            raise failure
        error = self._manager.named(failure)
        return b"event: error\ndata: " + to_part(ERROR.encode(to_message(error))) + b"\n\n"


def event_text(event: request_event_pb2.RequestEvent) -> bytes:
    """One event as text; its id is where a stream can be taken up again."""
    change = event.WhichOneof("change") or "message"
    if change == "snapshot":
        with_url(event.snapshot.request)
    elif change == "request":
        with_url(event.request)
    # Of all requests only the last event that is told at a time has one.
    place = f"id: {event.cursor}\n" if event.cursor else ""
    head = f"{place}event: {change}\ndata: ".encode()
    return head + to_part(EVENT.encode(event)) + b"\n\n"


def place_text(cursor: str) -> bytes:
    """A place where a stream can be taken up again, without an event; nothing if it is empty."""
    return f"id: {cursor}\n\n".encode() if cursor else b""
