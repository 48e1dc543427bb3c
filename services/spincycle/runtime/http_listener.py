"""HTTP servers inside the loop of the process, which end when they are told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal

import uvicorn

from spincycle.runtime import forked_sockets
from spincycle.runtime.config import ConfigError
from spincycle.runtime.uvicorn_version import check_uvicorn_version

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""

Protocol = type[asyncio.Protocol] | Literal["h11"]
"""How HTTP is read: a protocol of uvicorn's, or the name of one."""

_BACKLOG = 1024

_TICK = 1.0
"""Seconds between two looks at the clock for the Date header."""


class _Server(uvicorn.Server):
    """Leaves the signals to the process, and wakes up once a second, not ten times."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Keep the Date header right until told to end."""
        # Of every tenth tick uvicorn makes a new header; this makes tenth ticks only.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await self._told.wait()

    def tell_to_end(self) -> None:
        """End, once the calls in flight have."""
        self.should_exit = True
        self._told.set()


class HttpListener:
    """One listening socket with one application behind it."""

    def __init__(
        self, application: Application, bound: socket.socket, http: Protocol, grace: float
    ) -> None:
        """`grace` is how many seconds calls have to end when the listener does.

        Raises:
            ConfigError: the installed version of uvicorn is not supported.
        """
        check_uvicorn_version()
        self._socket = bound
        self.address = address_of(bound)
        self._server = _Server(
            uvicorn.Config(
                application,
                http=http,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=round(grace),
            )
        )

    async def serve(self) -> None:
        """Answer calls until told to end, then let those in flight end."""
        forked_sockets.close_in_children(self.address)
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            forked_sockets.forget(self.address)

    def end(self) -> None:
        """Take no more calls, and let `serve` return."""
        self._server.tell_to_end()


def address_of(bound: socket.socket) -> str:
    """The socket's own address, host:port."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(listen: str, setting: str) -> tuple[str, int]:
    """Host and port of an address, as a setting has it.

    Raises:
        ConfigError: the address is not host:port.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal():
        raise ConfigError(f'{setting}: "{listen}" must be host:port')
    return host, int(port)


def bind(listen: str, setting: str = "listen") -> socket.socket:
    """A socket that listens at host:port, as a setting says.

    Raises:
        ConfigError: the address is no host:port, is taken or cannot be used.
    """
    host, port = split(listen, setting)
    host = host.strip("[]") or "0.0.0.0"  # noqa: S104 # what an empty host has always meant
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        bound.close()
        raise ConfigError(f"{setting}: cannot listen on {listen}: {error}")
    bound.setblocking(False)
    return bound
