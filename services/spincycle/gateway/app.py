"""The ASGI application of the gateway."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import structlog

from spincycle.access.authentication import Authentication
from spincycle.access.call_id import CALL_ID, call_id_of, set_current_call_id
from spincycle.errors import JsonRequired, Overloaded, SpinCycleError
from spincycle.gateway.callers import authenticate, forget_caller
from spincycle.gateway.compression import accepts_gzip, gzipped, gzipped_parts
from spincycle.gateway.config import HttpLimitsConfig
from spincycle.gateway.cors import CrossOrigin
from spincycle.gateway.error_responses import HttpError, message_response
from spincycle.gateway.hosts import AllowedHosts
from spincycle.gateway.http_messages import JSON_TYPE, HttpRequest, HttpResponse, media_type
from spincycle.gateway.router import Route, Router
from spincycle.rpc.in_flight import BytesInFlight, Held
from spincycle.runtime.version import VERSION

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Application:
    """Routes HTTP calls, enforces limits, and logs each call.

    Args:
        router: the routes.
        error_response: returns the response for an error of a service.
        limits: limits of one call.
        gzip_bytes: smallest body that is compressed; 0 turns compression off.
        hosts: allowed host names.
        cross_origin: allowed origins of web pages.
        authentication: authenticates callers; None if all routes are for anybody.

    Attributes:
        calls: number of completed calls, by method and status.
    """

    def __init__(
        self,
        router: Router,
        error_response: Callable[[SpinCycleError], HttpResponse],
        limits: HttpLimitsConfig,
        gzip_bytes: int,
        hosts: AllowedHosts,
        cross_origin: CrossOrigin,
        authentication: Authentication | None = None,
    ) -> None:
        self._authentication = authentication
        self._router = router
        self._error_response = error_response
        self._limits = limits
        self._in_flight = BytesInFlight(limits.bytes_in_flight)
        self._gzip_bytes = gzip_bytes
        self._hosts = hosts
        self._cross_origin = cross_origin
        self._log = structlog.get_logger()
        self.calls: Counter[tuple[str, str]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one call."""
        began = time.perf_counter()
        # A pipelined call inherits the context of the call before it.
        structlog.contextvars.unbind_contextvars("request_id", "job_id")
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        call_id = call_id_of(headers.get(CALL_ID, ""))
        set_current_call_id([call_id])
        log = self._log.bind(call=call_id, method=scope["method"], path=scope["path"])
        response = await self._handle(scope, headers, call_id, receive, log)
        response.headers["X-Request-Id"] = call_id
        self.calls[scope["method"], str(response.status)] += 1
        sent = await self._send(response, headers, receive, send, log)
        log.info(
            "call",
            status=response.status,
            bytes=sent,
            ms=round((time.perf_counter() - began) * 1000, 2),
        )

    async def _handle(
        self,
        scope: Scope,
        headers: dict[str, str],
        call_id: str,
        receive: Receive,
        log: structlog.typing.FilteringBoundLogger,
    ) -> HttpResponse:
        forget_caller()
        try:
            self._hosts.check(scope)
            self._cross_origin.check(scope["method"], headers)
            route, params = self._match(scope, headers)
            structlog.contextvars.bind_contextvars(**params)
            if self._authentication is not None and not route.anonymous:
                await authenticate(self._authentication, scope)
            with Held(self._in_flight) as held:
                http = HttpRequest(
                    method=scope["method"],
                    path=scope["path"],
                    params=params,
                    query=self._query(scope["query_string"]),
                    headers=headers,
                    body=await self._body(route, headers, receive, held),
                    id=call_id,
                )
                return await route.handle(http)
        except HttpError as error:
            known = [method for method in error.headers.get("Allow", "").split(", ") if method]
            preflight = self._cross_origin.preflight(scope["method"], headers, known)
            return preflight or message_response(error.status, error.message, error.headers)
        except Overloaded as error:
            # The rest of the body is not read.
            response = self._error_response(error)
            response.headers |= {"Connection": "close", "Retry-After": f"{error.retry_after:.0f}"}
            return response
        except SpinCycleError as error:
            return self._error_response(error)
        except Exception:
            log.exception("call failed")
            return message_response(500, "Internal Server Error")

    def _match(self, scope: Scope, headers: dict[str, str]) -> tuple[Route, dict[str, str]]:
        if b"%00" in scope["raw_path"] or b"%00" in scope["query_string"]:
            # No name, id or value contains NUL, and PostgreSQL rejects it in a parameter.
            raise HttpError(400, "the path or the query contains a NUL character")
        route, params = self._router.match(scope["method"], scope["raw_path"])
        if route.needs_json and media_type(headers) != JSON_TYPE:
            raise JsonRequired
        return route, params

    def _query(self, raw: bytes) -> dict[str, list[str]]:
        try:
            return parse_qs(
                raw.decode("utf-8", "replace"),
                keep_blank_values=True,
                errors="replace",
                max_num_fields=self._limits.query_parameters,
            )
        except ValueError:
            raise HttpError(400, "too many query parameters")

    async def _body(
        self, route: Route, headers: dict[str, str], receive: Receive, held: Held
    ) -> bytes:
        if route.body is None:
            return b""
        limit = self._limits.body_bytes
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise HttpError(413, "Request Entity Too Large", Connection="close")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise HttpError(400, "unexpected EOF")
                    parts.append(message.get("body", b""))
                    held.add(len(parts[-1]))
                    size += len(parts[-1])
                    if size > limit:
                        raise HttpError(413, "Request Entity Too Large", Connection="close")
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise HttpError(408, "Request Timeout", Connection="close")

    async def _send(
        self,
        response: HttpResponse,
        headers: dict[str, str],
        receive: Receive,
        send: Send,
        log: structlog.typing.FilteringBoundLogger,
    ) -> int:
        response.headers["X-Spincycle-Version"] = VERSION
        if response.content_type:
            response.headers["Content-Type"] = response.content_type
        self._cross_origin.mark(response, headers)
        await self._compress(response, headers)
        if isinstance(response.body, bytes):
            response.headers["Content-Length"] = str(len(response.body))
            await send(_start(response))
            await send({"type": "http.response.body", "body": response.body})
            return len(response.body)
        await send(_start(response))
        parts = _Parts(response.body, send)
        try:
            await (_until_disconnect(parts.write(), receive) if response.live else parts.write())
        except SpinCycleError as error:
            # The status is sent already: an incomplete body is the only way to report the error.
            log.warning("response truncated", problem=str(error))
        finally:
            await parts.close()
        return parts.sent

    async def _compress(self, response: HttpResponse, headers: dict[str, str]) -> None:
        if response.live or not self._gzip_bytes or not response.content_type:
            return
        if not accepts_gzip(headers.get("accept-encoding", "")):
            return
        if not isinstance(response.body, bytes):
            response.body = gzipped_parts(response.body)
        elif len(response.body) >= self._gzip_bytes:
            response.body = await gzipped(response.body)
        else:
            return
        response.headers["Content-Encoding"] = "gzip"
        varies = response.headers.get("Vary")
        response.headers["Vary"] = f"{varies}, Accept-Encoding" if varies else "Accept-Encoding"


class _Parts:
    """Sends the parts of a body and counts their bytes."""

    def __init__(self, parts: AsyncIterator[bytes], send: Send) -> None:
        self._parts = parts
        self._send = send
        self.sent = 0

    async def write(self) -> None:
        """Send all parts and the end of the body."""
        async for part in self._parts:
            await self._send({"type": "http.response.body", "body": part, "more_body": True})
            self.sent += len(part)
        await self._send({"type": "http.response.body", "body": b""})

    async def close(self) -> None:
        """Close the source of the parts."""
        close = getattr(self._parts, "aclose", None)
        if close:
            await close()


async def _until_disconnect(writing: Awaitable[None], receive: Receive) -> None:
    """Write until the body ends or the caller disconnects."""

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(writing), asyncio.ensure_future(disconnected())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for result in ended:
        if isinstance(result, Exception):
            raise result


def _start(response: HttpResponse) -> Message:
    return {
        "type": "http.response.start",
        "status": response.status,
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in response.headers.items()
        ],
    }
