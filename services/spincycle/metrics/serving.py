"""Serving the figures over HTTP, on a port of their own and off unless it is configured."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import structlog

from spincycle.metrics.registry import Metrics
from spincycle.runtime.config import MetricsConfig
from spincycle.runtime.process import supervise

if TYPE_CHECKING:
    from spincycle.metrics.exposition import Exposition

PATH = "/metrics"

GRACE = 1
"""Seconds that a scrape has to end when the process does."""

Event = MutableMapping[str, Any]


@contextlib.asynccontextmanager
async def served(figures: Metrics, config: MetricsConfig) -> AsyncIterator[str]:
    """Serve the figures within the context, which is the address; nothing if none is configured.

    Raises:
        ConfigError: the address is no host:port, is taken or cannot be used.
    """
    if not config.listen:
        yield ""
        return
    # Imported here, since many processes do without.
    from spincycle.metrics.exposition import Exposition
    from spincycle.runtime.http_listener import HttpListener, bind

    exposition = Exposition(figures)
    bound = bind(config.listen, "metrics.listen")
    listener = HttpListener(_application(exposition), bound, "h11", GRACE)
    structlog.get_logger().info("serving metrics", address=listener.address)
    lag = asyncio.create_task(supervise("loop lag", exposition.measure_lag))
    serving = asyncio.create_task(listener.serve())
    try:
        yield listener.address
    finally:
        listener.end()
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
