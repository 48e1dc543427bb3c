"""What a connection may cost: bytes of header, time for them, and for taking the answer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from spincycle.gateway.coalescing_transport import CoalescingTransport
from spincycle.gateway.config import LimitsConfig
from spincycle.gateway.hosts import names_its_host
from spincycle.rest_codec.encoding import to_text
from spincycle.runtime.version import VERSION


def limited(limits: LimitsConfig) -> type[asyncio.Protocol]:
    """HTTP/1.1 that gives up on headers which are too large, too many or too slow.

    It gives up on callers, too, that do not take their answers.
    """
    return type("LimitedProtocol", (_Limited,), {"limits": limits})


class _Limited(HttpToolsProtocol):
    limits: LimitsConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._incomplete = True
        self._size = 0
        self._patience: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        # So that what the caller has not taken is heard of from its first byte on.
        transport.set_write_buffer_limits(0)
        self.transport = cast(asyncio.Transport, CoalescingTransport(transport, self.loop))
        if len(self.connections) > self.limits.connections:
            self._refuse(503, "too many connections; try again in a moment")
        else:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        # Counted before parsing: a header line without an end reaches no callback.
        self._size += len(data)
        super().data_received(data)
        if self._incomplete and self._size > self.limits.header_bytes:
            self._refuse(431, "Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        if not self._incomplete:
            # What came before in the same piece belongs to the call before.
            self._incomplete = True
            self._size = 0
        self._stop_waiting()
        self._await_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.headers) > self.limits.headers or size > self.limits.header_bytes:
            self._refuse(431, "Request Header Fields Too Large")
            return
        if not names_its_host(self.url, self.headers):
            self._refuse(400, "the request target and the Host header name different hosts")
            return
        self._incomplete = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._incomplete = True
        self._size = 0
        if not self.transport.is_closing():
            super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._stop_watching()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 # the parser's words tell nobody anything
        self._refuse(400, "Bad Request")

    def _await_headers(self) -> None:
        self._patience = self.loop.call_later(
            self.limits.header_timeout, self._refuse, 408, "Request Timeout"
        )

    def _stop_waiting(self) -> None:
        if self._patience:
            self._patience.cancel()
            self._patience = None

    def _watch(self, left: int) -> None:
        self._stalled = self.loop.call_later(self.limits.answer_timeout, self._check_taken, left)

    def _check_taken(self, left: int) -> None:
        """Give up a caller that has taken nothing of its answer since `left` bytes were left."""
        now = self.transport.get_write_buffer_size()
        if now < left:
            self._watch(now)
        else:
            self.transport.abort()

    def _stop_watching(self) -> None:
        if self._stalled:
            self._stalled.cancel()
            self._stalled = None

    def _refuse(self, status: int, message: str) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self._may_answer():
            body = to_text({"message": message})
            headers = (
                f"Content-Type: application/json\r\nX-Spincycle-Version: {VERSION}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self.transport.write(STATUS_LINE[status] + headers.encode() + body)
        self.transport.close()

    def _may_answer(self) -> bool:
        """Whether what is written now is taken for the answer to what is being read."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return True
        reading_its_body = not self._incomplete and not self.pipeline
        return reading_its_body and not cycle.response_started
