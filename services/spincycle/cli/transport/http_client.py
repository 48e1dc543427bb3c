"""HTTP client of the gateway on the standard library, so that spinc starts fast."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPS_PORT, HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlencode, urlsplit

from spincycle.cli.problem import Problem
from spincycle.cli.settings import Settings, Tls
from spincycle.cli.transport.bearer import BearerToken
from spincycle.cli.transport.tls import ssl_context, ssl_failure
from spincycle.errors import (
    DeadlineExceeded,
    RemoteError,
    ServiceUnavailable,
    SpinCycleError,
)

GATEWAY = "the gateway"

_STREAM_TIMEOUT = 60.0
"""Seconds without an event or a keepalive comment after which a stream counts as broken."""

_UNAUTHORIZED = 401

_REASONS = {
    401: "NOT_AUTHENTICATED",
    403: "ACCESS_DENIED",
    404: "REQUEST_NOT_FOUND",
    409: "INVALID_STATE",
    410: "CURSOR_TOO_OLD",
    501: "NOT_YET_THERE",
    503: "UNAVAILABLE",
}
"""Error reason by HTTP status; the original's error body has no reason."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event.

    Attributes:
        name: type of the event.
        cursor: position in the stream after the event.
        data: the decoded JSON.
    """

    name: str
    cursor: str
    data: Any


class GatewayClient:
    """Calls the gateway at one base URL."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bearer = BearerToken(settings)
        self._url = urlsplit(settings.rest)
        if self._url.scheme not in {"http", "https"} or not self._url.hostname:
            raise Problem(
                f'"{settings.rest}" is not the URL of a gateway',
                "for example http://127.0.0.1:32308",
            )

    async def call(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the JSON of the response; None for an empty body.

        Raises:
            SpinCycleError: the gateway cannot be reached or rejects the call.
        """
        token = await self._token()
        sent = _authorized(headers or {}, token)
        try:
            return await asyncio.to_thread(self._call, method, path, query, body, sent)
        except RemoteError as error:
            if error.http != _UNAUTHORIZED or not await self._bearer.renew(token):
                raise
        sent = _authorized(headers or {}, await self._token())
        return await asyncio.to_thread(self._call, method, path, query, body, sent)

    async def _token(self) -> str:
        encrypted = self._url.scheme == "https"
        return await self._bearer.token(self._settings.rest, encrypted=encrypted)

    def _call(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> Any:
        connection = self._connection(self._settings.timeout)
        try:
            return _document(self._send(connection, method, path, query, body, headers))
        finally:
            connection.close()

    async def events(
        self, path: str, query: Sequence[tuple[str, str]], cursor: str
    ) -> AsyncIterator[ServerSentEvent]:
        """Yield server-sent events until the gateway ends the stream.

        Raises:
            SpinCycleError: the stream could not be opened, or was lost.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": cursor} if cursor else {})
        token = await self._token()
        connection, response = await self._open(path, query, _authorized(headers, token))
        try:
            if response.status == _UNAUTHORIZED and await self._bearer.renew(token):
                _abort(connection)
                again = _authorized(headers, await self._token())
                connection, response = await self._open(path, query, again)
            if response.status != 200:
                _document(response)
            name = seen = data = ""
            while line := await asyncio.to_thread(self._line, response):
                field, _, value = line.rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    seen = value
                elif field == "data":
                    data = value
                elif not field and data:
                    yield ServerSentEvent(name, seen, json.loads(data))
                    name = data = ""
        finally:
            _abort(connection)

    async def _open(
        self, path: str, query: Sequence[tuple[str, str]], headers: Mapping[str, str]
    ) -> tuple[HTTPConnection, HTTPResponse]:
        """Open a stream, and return its connection."""
        connection = self._connection(_STREAM_TIMEOUT)
        try:
            response = await asyncio.to_thread(
                self._send, connection, "GET", path, query, None, headers
            )
        except BaseException:
            _abort(connection)
            raise
        return connection, response

    def _line(self, response: HTTPResponse) -> str:
        try:
            return response.readline().decode()
        except (OSError, HTTPException, ValueError):
            raise self._unavailable()

    def _send(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> HTTPResponse:
        target = self._url.path.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        sent_headers = {"Content-Type": "application/json", **headers}
        if self._settings.debug:
            sys.stderr.write(f"DEBUG {method} {self._settings.rest}{path}\n")
        try:
            connection.request(method, target, body, sent_headers)
            return connection.getresponse()
        except TimeoutError:
            raise DeadlineExceeded(GATEWAY, self._settings.timeout)
        except ssl.SSLError as error:
            raise ssl_failure(error, GATEWAY, self._settings.rest)
        except (OSError, HTTPException):
            raise self._unavailable()

    def _unavailable(self) -> SpinCycleError:
        return ServiceUnavailable(GATEWAY, self._settings.rest)

    def _connection(self, timeout: float) -> HTTPConnection:
        host = self._url.hostname or ""
        if self._url.scheme == "http":
            return HTTPConnection(host, self._url.port, timeout=timeout)
        return TlsConnection(host, self._url.port, timeout, self._settings.tls)


def _authorized(headers: Mapping[str, str], token: str) -> Mapping[str, str]:
    return {**headers, "Authorization": f"Bearer {token}"} if token else headers


def _document(response: HTTPResponse) -> Any:
    try:
        text = response.read()
        document = json.loads(text) if text.strip() else None
    except (OSError, HTTPException, ValueError):
        raise RemoteError("the gateway's response is not valid JSON", reason="INTERNAL")
    if response.status in {200, 201}:
        return document
    message = document.get("message") if isinstance(document, dict) else None
    raise RemoteError(
        str(message or f"no response from API, check logs (HTTP status {response.status})"),
        reason=_REASONS.get(response.status, "REMOTE"),
        http=response.status,
    )


class TlsConnection(HTTPConnection):
    """HTTPS connection whose server certificate may be checked against another name."""

    default_port = HTTPS_PORT

    def __init__(self, host: str, port: int | None, timeout: float, tls: Tls | None) -> None:
        super().__init__(host, port, timeout=timeout)
        self._tls = ssl_context(tls)
        self._name = (tls.server_name if tls else "") or host

    def connect(self) -> None:
        """Connect and start TLS."""
        super().connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def _abort(connection: HTTPConnection) -> None:
    """Close a connection and unblock a thread that still reads from it."""
    if connection.sock is not None:
        # The gateway may have closed it already.
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
