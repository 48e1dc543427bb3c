"""Fetches small JSON documents over HTTP, with bounds on their size and time."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any
from urllib.parse import urlsplit

import httptools
import orjson

from spincycle.runtime.loopback import is_loopback

MAX_BYTES = 512 * 1024
"""Largest response, with its headers."""

TIMEOUT = 5.0
"""Seconds for one document."""

_READ_BYTES = 64 * 1024


class NotFetched(Exception):
    """A document could not be fetched; the message says which and why."""


def check_url(url: str) -> None:
    """Check that a URL is https, or http on loopback.

    Raises:
        ValueError: it is not; the message says why.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url} is not a URL: {error}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url} is not a URL with https")
    if parts.username is not None or parts.fragment:
        raise ValueError(f"{url} has a user or a fragment")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{url!r} has characters that a URL does not have")
    if parts.scheme == "http" and not is_loopback(f"{parts.hostname}:{port or 80}"):
        raise ValueError(f"{url} is in plain text beyond loopback; use https")


async def fetch_document(url: str, tls: ssl.SSLContext, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Return the JSON object at a URL; no redirect is followed and no proxy is used.

    Raises:
        NotFetched: there is none, or it exceeds MAX_BYTES or the timeout.
    """
    try:
        check_url(url)
        async with asyncio.timeout(timeout):
            return await _fetch(url, tls)
    except NotFetched:
        raise
    except TimeoutError:
        raise NotFetched(f"{url} did not respond within {timeout:g} seconds")
    except (OSError, ValueError, httptools.HttpParserError) as error:
        raise NotFetched(f"{url}: {str(error) or type(error).__name__}")


async def _fetch(url: str, tls: ssl.SSLContext) -> dict[str, Any]:
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname,
        parts.port or (443 if is_tls else 80),
        ssl=tls if is_tls else None,
        limit=_READ_BYTES,
    )
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n"
            "User-Agent: spincycle\r\nConnection: close\r\n\r\n".encode()
        )
        response = _Response()
        parser = httptools.HttpResponseParser(response)
        received = 0
        while not response.is_complete and (chunk := await reader.read(_READ_BYTES)):
            received += len(chunk)
            if received > MAX_BYTES:
                raise NotFetched(f"{url} is larger than {MAX_BYTES} bytes")
            parser.feed_data(chunk)
        if not received:
            raise NotFetched(f"{url}: the connection was closed without a response")
        if parser.get_status_code() != 200:
            raise NotFetched(f"{url} responded with status {parser.get_status_code()}")
        if not response.is_complete and response.is_delimited:
            raise NotFetched(f"{url} responded with a part of a document only")
    finally:
        # Nothing is left to send; waiting for the peer's end could take for ever.
        writer.transport.abort()
    return _object(url, b"".join(response.body))


def _object(url: str, body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NotFetched(f"{url} did not respond with JSON")
    if not isinstance(document, dict):
        raise NotFetched(f"{url} did not respond with a JSON object")
    return document


class _Response:
    """Collects the body of a response.

    Attributes:
        body: its parts.
        is_complete: whether the end of the body has come.
        is_delimited: whether the headers say where the body ends.
    """

    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.is_complete = False
        self.is_delimited = False

    def on_header(self, name: bytes, _value: bytes) -> None:
        """See httptools."""
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self.is_delimited = True

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self.body.append(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        self.is_complete = True
