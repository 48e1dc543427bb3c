"""Serving the figures over HTTP, on a port of their own and off unless it is configured."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

import structlog

from spincycle.config import ConfigError, MetricsConfig
from spincycle.metrics.figures import Figures
from spincycle.process import keep_up

if TYPE_CHECKING:
    from spincycle.metrics.exposition import Exposition

PATH = "/metrics"

GRACE = 1
"""Seconds that a scrape has to end when the process does."""

Event = MutableMapping[str, Any]


@contextlib.asynccontextmanager
async def served(figures: Figures, config: MetricsConfig) -> AsyncIterator[str]:
    """Serve the figures within the context, which is the address; nothing if none is configured.

    Raises:
        ConfigError: the address is no host:port, is taken or cannot be used.
    """
    if not config.listen:
        yield ""
        return
    # Imported here, since many processes do without.
    import uvicorn

    from spincycle.metrics.exposition import Exposition

    class Server(uvicorn.Server):
        """Leaves the signals to the process."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    exposition = Exposition(figures)
    bound = _bind(config.listen)
    address = "{}:{}".format(*bound.getsockname()[:2])
    server = Server(
        uvicorn.Config(
            _application(exposition),
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
        )
    )
    structlog.get_logger().info("serving metrics", address=address)
    lag = asyncio.create_task(keep_up("loop lag", exposition.measure_lag))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        yield address
    finally:
        server.should_exit = True
        lag.cancel()
        await asyncio.gather(serving, lag, return_exceptions=True)
        bound.close()


def _application(exposition: Exposition) -> Callable[..., Awaitable[None]]:
    async def answer(scope: Event, _: object, send: Callable[[Event], Awaitable[None]]) -> None:
        found = scope["path"] == PATH and scope["method"] in {"GET", "HEAD"}
        body = await exposition.text() if found else b"the figures are at /metrics\n"
        content_type = exposition.content_type if found else "text/plain"
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await send(
            {
                "type": "http.response.start",
                "status": 200 if found else 404,
                "headers": headers,
            }
        )
        await send({"type": "http.response.body", "body": body})

    return answer


def _bind(listen: str) -> socket.socket:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal():
        raise ConfigError(f'metrics.listen: "{listen}" must be host:port')
    host = host.strip("[]") or "0.0.0.0"  # noqa: S104 # what an empty host has always meant
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, int(port)), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {listen} for metrics: {error}")
    bound.setblocking(False)
    return bound
