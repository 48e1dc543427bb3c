"""Proxies that a test can slow down, cut, or make deaf in one direction or in both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from spincycle.rpc.address import host_of, is_unix, socket_path

SILENCE = 1.0
"""Seconds after which a relay tries another server if one accepts and sends nothing."""

_Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Weather:
    """What happens to bytes from now on.

    Attributes:
        delay: seconds that each piece is late.
        swallow_up: bytes from the client vanish without an error (half-open, one direction).
        swallow_down: bytes from the server vanish.
        refuse: new connections are closed at once.
    """

    delay: float = 0.0
    swallow_up: bool = False
    swallow_down: bool = False
    refuse: bool = False


@dataclass
class Proxy:
    """Stands between clients and one server.

    Attributes:
        target: address of the server, host:port or unix:/path.
        address: address at which `start` listens; empty behind a relay.
    """

    target: str
    address: str = ""
    weather: Weather = field(default_factory=Weather)

    def __post_init__(self) -> None:
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to accept."""
        self._server = await _listen(self.address, self._accept)

    async def stop(self) -> None:
        """Close everything."""
        if self.address:
            self._server.close()
        self.reset()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def reset(self) -> None:
        """Cut all connections."""
        for connection in self._connections:
            connection.cancel()

    def calm(self) -> None:
        """Let everything through again, on new connections: what was swallowed is missing."""
        if self.weather.swallow_up or self.weather.swallow_down:
            self.reset()
        self.weather = Weather()

    async def carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, speaks_first: bool
    ) -> None:
        """Connect to the server, and carry bytes until one side closes or the test cuts it.

        Args:
            speaks_first: whether the server sends the first bytes, as gRPC does without TLS.

        Raises:
            OSError: the server does not accept, or should speak first and is silent; nothing has
                been read from the client.
        """
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._carry(reader, writer, speaks_first=speaks_first)
        finally:
            self._connections.discard(task)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.carry(reader, writer, speaks_first=False)
        except (OSError, asyncio.CancelledError):
            return
        finally:
            writer.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, speaks_first: bool
    ) -> None:
        if self.weather.refuse:
            raise ConnectionRefusedError
        there, here = await _connect(self.target)
        try:
            if speaks_first:
                writer.write(await self._first(there))
            up = asyncio.create_task(self._pump(reader, here, up=True))
            down = asyncio.create_task(self._pump(there, writer, up=False))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        finally:
            here.transport.abort()

    async def _first(self, there: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(SILENCE):
            piece = await there.read(65536)
        if not piece or self.weather.swallow_down:
            raise ConnectionResetError
        return piece

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool
    ) -> None:
        while piece := await source.read(65536):
            if self.weather.delay:
                await asyncio.sleep(self.weather.delay)
            if not (self.weather.swallow_up if up else self.weather.swallow_down):
                sink.write(piece)
                await sink.drain()


class Relay:
    """Represents several servers at one Unix socket, since gRPC resolves only one path.

    Each connection goes to the next server that accepts it and speaks.

    Attributes:
        address: unix:/path at which it listens.
    """

    def __init__(self, address: str, proxies: Sequence[Proxy]) -> None:
        self.address = address
        self._proxies = proxies
        self._next = 0

    async def start(self) -> None:
        """Begin to accept."""
        self._server = await _listen(self.address, self._accept)

    async def stop(self) -> None:
        """Close everything."""
        self._server.close()
        await asyncio.gather(*(proxy.stop() for proxy in self._proxies))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, self._next = self._next, (self._next + 1) % len(self._proxies)
        try:
            for proxy in [*self._proxies[first:], *self._proxies[:first]]:
                try:
                    await proxy.carry(reader, writer, speaks_first=True)
                except OSError:
                    continue
                return
        except asyncio.CancelledError:
            return
        finally:
            writer.transport.abort()


async def _listen(address: str, accept: _Accept) -> asyncio.Server:
    if is_unix(address):
        return await asyncio.start_unix_server(accept, socket_path(address))
    return await asyncio.start_server(accept, host_of(address), int(address.rpartition(":")[2]))


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if is_unix(address):
        return await asyncio.open_unix_connection(socket_path(address))
    return await asyncio.open_connection(host_of(address), address.rpartition(":")[2])
