"""Calls of an HTTP application without a server."""

from __future__ import annotations

import asyncio
from typing import Any

from spincycle.gateway.app import Application
from spincycle.gateway.config import HttpLimitsConfig
from spincycle.gateway.cors import CrossOrigin
from spincycle.gateway.error_responses import error_response
from spincycle.gateway.hosts import AllowedHosts
from spincycle.gateway.router import Route, Router


def application(routes: list[Route]) -> Application:
    return Application(
        Router(routes), error_response, HttpLimitsConfig(), 100, AllowedHosts(), CrossOrigin(())
    )


async def call(
    app: Application,
    method: str,
    path: bytes,
    query: bytes = b"",
    headers: dict[bytes, bytes] | None = None,
    body: bytes = b"",
) -> tuple[int, dict[str, str], bytes]:
    sent: list[Any] = []
    received = False

    async def receive() -> dict[str, Any]:
        nonlocal received
        if received:
            await asyncio.Event().wait()
        received = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "headers": [(b"host", b"localhost"), *(headers or {}).items()],
    }
    await app(scope, receive, send)
    response_headers = {
        name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]
    }
    return sent[0]["status"], response_headers, b"".join(part["body"] for part in sent[1:])
