"""Changes of requests as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from spincycle.access.caller import OPEN, Caller, current_caller
from spincycle.errors import RemoteError, TooManyStreams
from spincycle.gateway.filters import parse_filter
from spincycle.gateway.http_messages import HttpRequest, HttpResponse
from spincycle.gateway.router import Parameter, Route
from spincycle.gateway.routes.requests import FILTERS, LARGE, ONE, with_url
from spincycle.gateway.service_clients import ServiceClient
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
    "Last-Event-ID", "id of the last event received: resume after it", where="header"
)
_CURSOR = Parameter("cursor", "as Last-Event-ID, for clients that cannot set headers")
_CHAIN = Parameter("jobChain", "true: include the chain in snapshots")
_REQUESTS_ONLY = Parameter("requestsOnly", "true: leave out changes of jobs")
_OUTPUT = Parameter("output", "true: include the output of running jobs")
_FILTERS = tuple(known for known in FILTERS if known.name in {"type", "user", "state", "arg"})

Watch = grpc.aio.UnaryStreamCall[rm.WatchRequest, rm.WatchResponse]

_FIRST_EVENT_TIMEOUT = 1.0
"""Seconds in which an error becomes the HTTP status; a later one becomes an error event."""


_RESUMED_AFTER = 60.0
"""Seconds that a call must have lasted to be resumed; a shorter one ends with an error event."""


class EventRoutes:
    """Serves event streams, each until its caller disconnects.

    Args:
        request_manager: source of the events.
        keepalive: seconds without an event after which a comment is sent.
        max_streams: most streams at once.
        max_per_caller: most streams of one authenticated caller.
    """

    def __init__(
        self,
        request_manager: ServiceClient[RequestManagerServiceStub],
        keepalive: float,
        max_streams: int,
        max_per_caller: int,
    ) -> None:
        self._manager = request_manager
        self._keepalive = keepalive
        self._max_streams = max_streams
        self._max_per_caller = max_per_caller
        self._streams: set[EventStream] = set()

    def routes(self) -> list[Route]:
        """Return the routes."""
        known = (LAST_EVENT_ID, _CURSOR, _CHAIN, _REQUESTS_ONLY)
        return [
            Route(
                "GET", ONE + "/events", self.of_request,
                "stream every change of a request until it ends",
                response_type=EVENT_STREAM, failures=(400, 404, 410, 429),
                parameters=(*known, _OUTPUT),
            ),
            Route(
                "GET", "/api/v1/events", self.of_all, "stream every change of all requests",
                response_type=EVENT_STREAM, failures=(400, 410, 429),
                parameters=(*known, *_FILTERS),
            ),
        ]  # fmt: skip

    def end(self) -> None:
        """End all streams; callers that reconnect resume after their last event."""
        for stream in self._streams:
            stream.end()

    async def of_request(self, http: HttpRequest) -> HttpResponse:
        """Stream the events of one request; the last one is named end."""
        message = rm.WatchRequest(
            request_ids=[http.params["request_id"]],
            include_live_output=http.first("output") == "true",
        )
        return await self._watch(http, message)

    async def of_all(self, http: HttpRequest) -> HttpResponse:
        """Stream the events of all requests that match."""
        request_filter = parse_filter(http.query)
        for name in ("since", "until", "limit", "offset"):
            request_filter.ClearField(name)
        return await self._watch(http, rm.WatchRequest(filter=request_filter))

    async def _watch(self, http: HttpRequest, message: rm.WatchRequest) -> HttpResponse:
        caller = current_caller()
        self._check_number(caller)
        message.cursor = http.headers.get("last-event-id", "") or http.first("cursor")
        message.include_job_chain = http.first("jobChain") == "true"
        message.requests_only = http.first("requestsOnly") == "true"
        stream = EventStream(self._manager, message, self._keepalive, self._streams, caller.name)
        await stream.open()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return HttpResponse(stream, headers=headers, content_type=EVENT_STREAM, live=True)

    def _check_number(self, caller: Caller) -> None:
        """Check that the caller may open a further stream.

        Raises:
            TooManyStreams: it has as many as one caller may have.
            RemoteError: all callers together have as many as the gateway serves.
        """
        if caller.authenticator != OPEN:
            of_caller = sum(stream.caller == caller.name for stream in self._streams)
            if of_caller >= self._max_per_caller:
                raise TooManyStreams(caller.name, self._max_per_caller)
        if len(self._streams) >= self._max_streams:
            raise RemoteError(
                "too many event streams; try again in a moment",
                reason="TOO_MANY_STREAMS",
                code="RESOURCE_EXHAUSTED",
                http=503,
                retryable=True,
            )


class EventStream(AsyncIterator[bytes]):
    """The event stream of one caller; it is in `streams` while it is open.

    Attributes:
        caller: name of the caller.
    """

    def __init__(
        self,
        manager: ServiceClient[RequestManagerServiceStub],
        message: rm.WatchRequest,
        keepalive: float,
        streams: set[EventStream],
        caller: str,
    ) -> None:
        self.caller = caller
        self._manager = manager
        self._keepalive = keepalive
        self._streams = streams
        self._message = message
        self._began_at = asyncio.get_running_loop().time()
        self._watch: Watch = manager.stub.Watch(message)
        self._reading = asyncio.ensure_future(self._watch.read())
        self._over = False
        streams.add(self)

    async def open(self) -> None:
        """Wait briefly for the first events.

        Raises:
            SpinCycleError: the request manager rejects the call.
        """
        try:
            await asyncio.wait({self._reading}, timeout=_FIRST_EVENT_TIMEOUT)
            if self._reading.done():
                with self._manager.translate_errors():
                    self._reading.result()
        except BaseException:
            await self.aclose()
            raise

    def end(self) -> None:
        """End the stream."""
        self._watch.cancel()

    async def aclose(self) -> None:
        """Cancel the call and wait for it."""
        self._over = True
        self._streams.discard(self)
        self._watch.cancel()
        self._reading.cancel()
        await asyncio.wait({self._reading})
        if not self._reading.cancelled():
            self._reading.exception()

    async def __anext__(self) -> bytes:
        """Return the next events, or a comment after `keepalive` seconds without any."""
        if self._over:
            raise StopAsyncIteration
        await asyncio.wait({self._reading}, timeout=self._keepalive)
        if not self._reading.done():
            return b": still here\n\n"
        if self._reading.cancelled():
            raise StopAsyncIteration
        failure = self._reading.exception()
        if failure is not None:
            if self._resume(failure):
                return b":\n\n"
            self._over = True
            return self._error_event(failure)
        response = self._reading.result()
        if not isinstance(response, rm.WatchResponse):
            self._over = True
            return b"event: end\ndata: {}\n\n"
        self._reading = asyncio.ensure_future(self._watch.read())
        events = response.events
        if not events:
            self._message.cursor = response.cursor or self._message.cursor
            return cursor_text(response.cursor) or b":\n\n"
        # A response for all requests has one cursor, which follows its last event.
        events[-1].cursor = response.cursor or events[-1].cursor
        cursors = [event.cursor for event in events if event.cursor]
        self._message.cursor = cursors[-1] if cursors else self._message.cursor
        is_large = response.ByteSize() >= LARGE
        return await off_loop(is_large, lambda: b"".join(map(event_text, events)))

    def _resume(self, failure: BaseException) -> bool:
        """Watch again from the last cursor if the call ended after a long time, and return whether.

        A request manager ends the streams of old connections.
        """
        loop = asyncio.get_running_loop()
        if (
            not isinstance(failure, grpc.aio.AioRpcError)
            or failure.code() is not grpc.StatusCode.UNAVAILABLE
            or loop.time() - self._began_at < _RESUMED_AFTER
        ):
            return False
        self._began_at = loop.time()
        self._watch = self._manager.stub.Watch(self._message)
        self._reading = asyncio.ensure_future(self._watch.read())
        return True

    def _error_event(self, failure: BaseException) -> bytes:
        if not isinstance(failure, grpc.aio.AioRpcError):
            raise failure
        error = self._manager.translate(failure)
        return b"event: error\ndata: " + to_part(ERROR.encode(to_message(error))) + b"\n\n"


def event_text(event: request_event_pb2.RequestEvent) -> bytes:
    """Encode an event; its id is the cursor to resume after it."""
    change = event.WhichOneof("change") or "message"
    if change == "snapshot":
        with_url(event.snapshot.request)
    elif change == "request":
        with_url(event.request)
    # In a stream of all requests, only the last event of a response has a cursor.
    id_line = f"id: {event.cursor}\n" if event.cursor else ""
    head = f"{id_line}event: {change}\ndata: ".encode()
    return head + to_part(EVENT.encode(event)) + b"\n\n"


def cursor_text(cursor: str) -> bytes:
    """Encode a cursor without an event; empty if there is none."""
    return f"id: {cursor}\n\n".encode() if cursor else b""
