"""Writes of one turn of the event loop as one system call."""

from __future__ import annotations

import asyncio
from typing import Any

LARGE = 64 * 1024
"""Bytes from which on nothing waits for the end of the turn."""


class CoalescingTransport:
    """A transport that sends together what is written within one turn of the event loop.

    uvicorn writes head and body of an answer one after the other, and a transport that may keep
    nothing back sends each by a system call of its own.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send in this turn of the loop, or at once if it is much."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)
        self._size += len(data)
        if self._size >= LARGE:
            self._send()

    def close(self) -> None:
        """Send what was written, then close."""
        self._send()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        """Bytes that were written and not sent."""
        return self._size + self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send(self) -> None:
        parts, self._parts, self._size = self._parts, [], 0
        if parts and not self._transport.is_closing():
            self._transport.writelines(parts)
