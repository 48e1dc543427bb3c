"""HTTP servers on the event loop of the process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import uvicorn

from spincycle.runtime import forked_sockets
from spincycle.runtime.config import ConfigError
from spincycle.runtime.uvicorn_version import check_uvicorn_version

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""

Protocol = type[asyncio.Protocol] | Literal["h11"]
"""The HTTP parser: a protocol class of uvicorn, or the name of one."""

_BACKLOG = 1024

_TICK = 1.0
"""Seconds between two updates of the Date header."""


@dataclass(frozen=True, slots=True)
class Https:
    """TLS of a listener.

    Attributes:
        context: certificate and protocol versions.
        handshake_timeout: seconds that a caller has for the handshake.
        close_timeout: seconds that a caller has to read the rest of the last response and to
            confirm the end of the connection.
    """

    context: ssl.SSLContext
    handshake_timeout: float
    close_timeout: float


class _Server(uvicorn.Server):
    """A uvicorn server that handles no signals and wakes up once per second, not ten times."""

    def __init__(self, config: uvicorn.Config, https: Https | None) -> None:
        super().__init__(config)
        self._https = https
        self._exit_requested = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections; uvicorn itself does not limit the time of TLS handshakes."""
        https = self._https
        if https is None:
            await super().startup(sockets)
            return
        await super().startup([])
        loop = asyncio.get_running_loop()
        for bound in sockets or ():
            server = await loop.create_server(
                self._protocol,
                sock=bound,
                backlog=_BACKLOG,
                ssl=https.context,
                ssl_handshake_timeout=https.handshake_timeout,
                ssl_shutdown_timeout=https.close_timeout,
            )
            # uvicorn's type is the server of asyncio, and that of uvloop is another one.
            self.servers.append(server)

    def _protocol(self) -> asyncio.Protocol:
        create: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return create(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Update the Date header once per second until `request_exit` is called."""
        # uvicorn updates the header at ticks whose number is divisible by ten.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await self._exit_requested.wait()

    def request_exit(self) -> None:
        """Shut down when the calls in flight have ended."""
        self.should_exit = True
        self._exit_requested.set()


class HttpListener:
    """Serves one ASGI application on one listening socket."""

    def __init__(
        self,
        application: Application,
        bound: socket.socket,
        http: Protocol,
        grace: float,
        https: Https | None = None,
    ) -> None:
        """Create the listener; `grace` is the seconds that calls in flight get at shutdown.

        With `https` it serves only HTTPS.

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
            ),
            https,
        )

    async def serve(self) -> None:
        """Serve calls until `end` is called, then wait for the calls in flight."""
        forked_sockets.close_in_children(self.address)
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            forked_sockets.forget(self.address)

    def end(self) -> None:
        """Accept no more calls, and make `serve` return."""
        self._server.request_exit()


def address_of(bound: socket.socket) -> str:
    """Return the local address of a socket, host:port."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(listen: str, setting: str) -> tuple[str, int]:
    """Return host and port of an address; `setting` names its configuration key.

    Raises:
        ConfigError: the address is not host:port.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal():
        raise ConfigError(f'{setting}: "{listen}" must be host:port')
    return host, int(port)


def bind(listen: str, setting: str = "listen") -> socket.socket:
    """Return a socket that listens on host:port; `setting` names its configuration key.

    Raises:
        ConfigError: the address is not host:port, is in use or cannot be bound.
    """
    host, port = split(listen, setting)
    host = host.strip("[]") or "0.0.0.0"  # noqa: S104 # an empty host means every interface
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        bound.close()
        raise ConfigError(f"{setting}: cannot listen on {listen}: {error}")
    bound.setblocking(False)  # noqa: FBT003 # the signature of socket
    return bound
