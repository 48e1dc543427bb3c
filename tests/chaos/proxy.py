"""A TCP proxy that a test can slow down, cut, or make deaf in one direction or in both."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from spincycle.dev.ports import free_port


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
    """Stands between clients and one server."""

    target: int
    port: int = field(default_factory=free_port)
    weather: Weather = field(default_factory=Weather)

    async def start(self) -> None:
        """Begin to accept."""
        self._connections: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Close everything."""
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

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            if not self.weather.refuse:
                await self._connect(reader, writer)
        except OSError:
            return
        except asyncio.CancelledError:
            return
        finally:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection("127.0.0.1", self.target)
        up = asyncio.create_task(self._pump(reader, here, up=True))
        down = asyncio.create_task(self._pump(there, writer, up=False))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            here.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool
    ) -> None:
        while piece := await source.read(65536):
            if self.weather.delay:
                await asyncio.sleep(self.weather.delay)
            if not (self.weather.swallow_up if up else self.weather.swallow_down):
                sink.write(piece)
                await sink.drain()
