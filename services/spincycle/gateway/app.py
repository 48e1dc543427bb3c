"""The ASGI application: one call from its first byte to its log line."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import structlog

from spincycle.errors import JsonRequired, Overloaded, SpinCycleError
from spincycle.gateway.compression import accepts_gzip, gzipped, gzipped_parts
from spincycle.gateway.config import LimitsConfig
from spincycle.gateway.cors import CrossOrigin
from spincycle.gateway.exchange import JSON_TYPE, HttpRequest, HttpResponse, media_type
from spincycle.gateway.failures import HttpError, bare
from spincycle.gateway.hosts import AllowedHosts
from spincycle.gateway.router import Route, Router
from spincycle.rpc.in_flight import BytesInFlight, Held
from spincycle.runtime.version import VERSION

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_MOST_CALLS = 0xFFFFFFFF
_CALL_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


class Application:
    """Answers HTTP calls by a table of routes.

    Args:
        router: the routes.
        refused: how a failure that a service named is answered.
        limits: what one call may cost.
        gzip_bytes: smallest body that is compressed; 0 compresses none.
        hosts: the names by which callers may reach it.
        cross_origin: which pages of other origins may call.

    Attributes:
        calls: how many were answered, by method and status.
    """

    def __init__(
        self,
        router: Router,
        refused: Callable[[SpinCycleError], HttpResponse],
        limits: LimitsConfig,
        gzip_bytes: int,
        hosts: AllowedHosts,
        cross_origin: CrossOrigin,
    ) -> None:
        self._router = router
        self._refused = refused
        self._limits = limits
        self._in_flight = BytesInFlight(limits.bytes_in_flight)
        self._gzip_bytes = gzip_bytes
        self._hosts = hosts
        self._cross_origin = cross_origin
        self._log = structlog.get_logger()
        # Ids of calls: random bytes of this process, and a number.
        self._process = secrets.token_hex(4)
        self._number = itertools.count()
        self.calls: Counter[tuple[str, str]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        began = time.perf_counter()
        # A call that waited behind another one on its connection begins in its context.
        structlog.contextvars.unbind_contextvars("request_id", "job_id")
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        given = headers.get("x-request-id", "")
        call_id = (
            given
            if _CALL_ID.fullmatch(given)
            else f"{self._process}{next(self._number) & _MOST_CALLS:08x}"
        )
        log = self._log.bind(call=call_id, method=scope["method"], path=scope["path"])
        answer = await self._answer(scope, headers, call_id, receive, log)
        answer.headers["X-Request-Id"] = call_id
        self.calls[scope["method"], str(answer.status)] += 1
        sent = await self._send(answer, headers, receive, send, log)
        log.info(
            "call",
            status=answer.status,
            bytes=sent,
            ms=round((time.perf_counter() - began) * 1000, 2),
        )

    async def _answer(
        self,
        scope: Scope,
        headers: dict[str, str],
        call_id: str,
        receive: Receive,
        log: structlog.typing.FilteringBoundLogger,
    ) -> HttpResponse:
        try:
            self._hosts.check(scope)
            self._cross_origin.check(scope["method"], headers)
            route, params = self._match(scope, headers)
            structlog.contextvars.bind_contextvars(**params)
            with Held(self._in_flight) as held:
                call = HttpRequest(
                    method=scope["method"],
                    path=scope["path"],
                    params=params,
                    query=self._query(scope["query_string"]),
                    headers=headers,
                    body=await self._body(route, headers, receive, held),
                    id=call_id,
                )
                return await route.handle(call)
        except HttpError as error:
            known = [method for method in error.headers.get("Allow", "").split(", ") if method]
            preflight = self._cross_origin.preflight(scope["method"], headers, known)
            return preflight or bare(error.status, error.message, error.headers)
        except Overloaded as error:
            # What is left of the body is not read.
            answer = self._refused(error)
            answer.headers |= {"Connection": "close", "Retry-After": f"{error.retry_after:.0f}"}
            return answer
        except SpinCycleError as error:
            return self._refused(error)
        except Exception:
            log.exception("call failed")
            return bare(500, "Internal Server Error")

    def _match(self, scope: Scope, headers: dict[str, str]) -> tuple[Route, dict[str, str]]:
        if b"%00" in scope["raw_path"] or b"%00" in scope["query_string"]:
            # No name, id or value has it, and PostgreSQL cannot even compare with it.
            raise HttpError(400, "the path or the query holds the character NUL")
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
        most = self._limits.body_bytes
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
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
                    if size > most:
                        raise HttpError(413, "Request Entity Too Large", Connection="close")
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise HttpError(408, "Request Timeout", Connection="close")

    async def _send(
        self,
        answer: HttpResponse,
        headers: dict[str, str],
        receive: Receive,
        send: Send,
        log: structlog.typing.FilteringBoundLogger,
    ) -> int:
        answer.headers["X-Spincycle-Version"] = VERSION
        if answer.content_type:
            answer.headers["Content-Type"] = answer.content_type
        self._cross_origin.mark(answer, headers)
        await self._compress(answer, headers)
        if isinstance(answer.body, bytes):
            answer.headers["Content-Length"] = str(len(answer.body))
            await send(_start(answer))
            await send({"type": "http.response.body", "body": answer.body})
            return len(answer.body)
        await send(_start(answer))
        parts = _Parts(answer.body, send)
        try:
            await (_until_gone(parts.write(), receive) if answer.live else parts.write())
        except SpinCycleError as error:
            # The status is out; all that can be done is not to end the body properly.
            log.warning("answer cut short", problem=str(error))
        finally:
            await parts.close()
        return parts.sent

    async def _compress(self, answer: HttpResponse, headers: dict[str, str]) -> None:
        if answer.live or not self._gzip_bytes or not answer.content_type:
            return
        if not accepts_gzip(headers.get("accept-encoding", "")):
            return
        if not isinstance(answer.body, bytes):
            answer.body = gzipped_parts(answer.body)
        elif len(answer.body) >= self._gzip_bytes:
            answer.body = await gzipped(answer.body)
        else:
            return
        answer.headers["Content-Encoding"] = "gzip"
        varies = answer.headers.get("Vary")
        answer.headers["Vary"] = f"{varies}, Accept-Encoding" if varies else "Accept-Encoding"


class _Parts:
    """Writes the parts of a body and counts their bytes."""

    def __init__(self, parts: AsyncIterator[bytes], send: Send) -> None:
        self._parts = parts
        self._send = send
        self.sent = 0

    async def write(self) -> None:
        """Write all parts and the end."""
        async for part in self._parts:
            await self._send({"type": "http.response.body", "body": part, "more_body": True})
            self.sent += len(part)
        await self._send({"type": "http.response.body", "body": b""})

    async def close(self) -> None:
        """Let go of where the parts come from."""
        close = getattr(self._parts, "aclose", None)
        if close:
            await close()


async def _until_gone(writing: Awaitable[None], receive: Receive) -> None:
    """Write until all is written or the caller is gone."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(writing), asyncio.ensure_future(gone())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for result in ended:
        if isinstance(result, Exception):
            raise result


def _start(answer: HttpResponse) -> Message:
    return {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in answer.headers.items()
        ],
    }
