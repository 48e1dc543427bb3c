"""Limits of a connection: size and time of its headers, time without read progress."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from spincycle.access.credentials import PeerCertificate
from spincycle.gateway.client_certificate import CLIENT_CERTIFICATE, peer_certificate
from spincycle.gateway.coalescing_transport import CoalescingTransport
from spincycle.gateway.config import HttpLimitsConfig
from spincycle.gateway.hosts import names_its_host
from spincycle.rest_codec.encoding import to_text
from spincycle.runtime.version import VERSION


def limited_protocol(limits: HttpLimitsConfig) -> type[asyncio.Protocol]:
    """Return an HTTP/1.1 protocol that enforces the limits.

    It rejects headers that are too large, too many or too slow, and disconnects callers that do
    not read their responses.
    """
    return type("LimitedProtocol", (_LimitedProtocol,), {"limits": limits})


class _LimitedProtocol(HttpToolsProtocol):
    limits: HttpLimitsConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._incomplete = True
        self._size = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._certificate: PeerCertificate | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._certificate = peer_certificate(transport.get_extra_info("peercert"))
        # So that pause_writing is called when anything is unread. With 0, a transport with TLS
        # would pause even if nothing is.
        transport.set_write_buffer_limits(1)
        self.transport = cast("asyncio.Transport", CoalescingTransport(transport, self.loop))
        if len(self.connections) > self.limits.connections:
            self._reject(503, "too many connections; try again in a moment")
        else:
            self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        # Counted before parsing: an unterminated header line reaches no callback.
        self._size += len(data)
        super().data_received(data)
        if self._incomplete and self._size > self.limits.header_bytes:
            self._reject(431, "Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        if not self._incomplete:
            # Earlier bytes of the same read belong to the previous call.
            self._incomplete = True
            self._size = 0
        self._stop_header_timer()
        self._start_header_timer()
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)[CLIENT_CERTIFICATE] = self._certificate

    def on_headers_complete(self) -> None:
        self._stop_header_timer()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.headers) > self.limits.headers or size > self.limits.header_bytes:
            self._reject(431, "Request Header Fields Too Large")
            return
        if not names_its_host(self.url, self.headers):
            self._reject(400, "the request target and the Host header name different hosts")
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
        self._start_write_timer(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._stop_write_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 # the parser's message is not for callers
        self._reject(400, "Bad Request")

    def _start_header_timer(self) -> None:
        self._header_timer = self.loop.call_later(
            self.limits.header_timeout, self._reject, 408, "Request Timeout"
        )

    def _stop_header_timer(self) -> None:
        if self._header_timer:
            self._header_timer.cancel()
            self._header_timer = None

    def _start_write_timer(self, left: int) -> None:
        self._write_timer = self.loop.call_later(
            self.limits.answer_timeout, self._check_progress, left
        )

    def _check_progress(self, left: int) -> None:
        """Disconnect a caller that has read nothing since `left` bytes were buffered."""
        now = self.transport.get_write_buffer_size()
        if now < left:
            self._start_write_timer(now)
        else:
            self.transport.abort()

    def _stop_write_timer(self) -> None:
        if self._write_timer:
            self._write_timer.cancel()
            self._write_timer = None

    def _reject(self, status: int, message: str) -> None:
        self._stop_header_timer()
        if self.transport.is_closing():
            return
        if self._may_respond():
            body = to_text({"message": message})
            headers = (
                f"Content-Type: application/json\r\nX-Spincycle-Version: {VERSION}\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self.transport.write(STATUS_LINE[status] + headers.encode() + body)
        self.transport.close()

    def _may_respond(self) -> bool:
        """Return whether a response written now would be matched to the call being read."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return True
        reading_its_body = not self._incomplete and not self.pipeline
        return reading_its_body and not cycle.response_started
