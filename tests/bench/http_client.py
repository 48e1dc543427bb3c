"""An HTTP client that takes as little as can be from the cores it shares with what is timed."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
import orjson


class HttpConnection(asyncio.Protocol):
    """One connection that is kept, with one call at a time on it.

    One that the server has closed, since it was not used for a while, is opened again.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._parts: list[bytes] = []
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> HttpConnection:
        """Connect."""
        connection = cls(host, port)
        await connection._connect()
        return connection

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, self._host, self._port)

    def ask(self, head: bytes, body: bytes = b"") -> asyncio.Future[tuple[int, bytes]]:
        """Send a call; the future has its status and body."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._parts.clear()
        self._transport.write(head + body)
        return self._answer

    async def get(self, path: str) -> bytes:
        """Body of the answer to GET, which must be 200."""
        await self._reopen()
        return _expect(200, *await self.ask(get_head(path)))

    async def post(self, path: str, content: object) -> Any:
        """What POST answers, which must be 201."""
        body = orjson.dumps(content)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        await self._reopen()
        return orjson.loads(_expect(201, *await self.ask(head.encode(), body)))

    async def _reopen(self) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            await self._connect()

    def close(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.close()

    # As asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        # What comes without having been asked for says that the server gives the connection up.
        if self._answer is not None and not self._answer.done():
            self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("connection closed"))

    # As what httptools calls back

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), b"".join(self._parts)))


def get_head(path: str) -> bytes:
    """The text of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _expect(wanted: int, status: int, body: bytes) -> bytes:
    if status != wanted:
        raise RuntimeError(f"answered {status}: {body[:200].decode(errors='replace')}")
    return body
