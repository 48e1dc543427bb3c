"""Serves metrics over HTTP on a separate port, if configured."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

import structlog

from spincycle.metrics.registry import Metrics
from spincycle.runtime.config import MetricsConfig

if TYPE_CHECKING:
    from spincycle.metrics.exposition import Exposition

PATH = "/metrics"

GRACE = 1
"""Seconds that a scrape in progress gets to complete at shutdown."""

Event = MutableMapping[str, Any]


@contextlib.asynccontextmanager
async def serve_metrics(metrics: Metrics, config: MetricsConfig) -> AsyncIterator[str]:
    """Serve metrics for the duration of the context, if an address is configured.

    The context variable is the address, host:port with the bound port; empty if not configured.

    Raises:
        ConfigError: the address is not host:port, is in use or cannot be bound.
    """
    if not config.listen:
        yield ""
        return
    # Imported here because many processes do not serve metrics.
    from spincycle.metrics.exposition import Exposition
    from spincycle.runtime.http_listener import HttpListener, bind

    exposition = Exposition(metrics)
    bound = bind(config.listen, "metrics.listen")
    listener = HttpListener(_application(exposition), bound, "h11", GRACE)
    structlog.get_logger().info("serving metrics", address=listener.address)
    serving = asyncio.create_task(listener.serve())
    try:
        yield listener.address
    finally:
        listener.end()
        await asyncio.gather(serving, return_exceptions=True)
        bound.close()


def _application(exposition: Exposition) -> Callable[..., Awaitable[None]]:
    async def handle(scope: Event, _: object, send: Callable[[Event], Awaitable[None]]) -> None:
        found = scope["path"] == PATH and scope["method"] in {"GET", "HEAD"}
        body = await exposition.text() if found else b"metrics are served at /metrics\n"
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

    return handle
