"""Coalesces the writes of one event loop iteration into one system call."""

from __future__ import annotations

import asyncio
from typing import Any

LARGE = 64 * 1024
"""Buffered bytes from which on a write is sent immediately."""


class CoalescingTransport:
    """Transport that sends all writes of one event loop iteration together.

    uvicorn writes the head and the body of a response separately, and a transport without a
    write buffer sends each by its own system call.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._is_encrypted = transport.get_extra_info("sslcontext") is not None
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send at the end of this iteration, or immediately from LARGE bytes on."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)
        self._size += len(data)
        if self._size >= LARGE:
            self._send()

    def close(self) -> None:
        """Send the buffered writes, then close."""
        self._send()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes written but not sent."""
        return self._size + self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send(self) -> None:
        parts, self._parts, self._size = self._parts, [], 0
        if not parts or self._transport.is_closing():
            return
        if not self._is_encrypted:
            self._transport.writelines(parts)
            return
        # A transport with TLS passes each write on at once, and no longer counts it as unsent.
        # With small ones, only the first ones are not counted if the caller does not read.
        data = memoryview(b"".join(parts))
        for start in range(0, len(data), LARGE):
            self._transport.write(data[start : start + LARGE])
