"""Decodes request bodies to messages, with the error texts of the original."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message as ProtoMessage

from spincycle.gateway.error_responses import HttpError
from spincycle.gateway.http_messages import HttpRequest
from spincycle.gateway.parsing import LARGE, holds_more, parse
from spincycle.gateway.scanner import SyntaxProblem, locate
from spincycle.rest_codec.codecs import JsonPath, Mismatch, Unreadable
from spincycle.rest_codec.tables import MessageCodec
from spincycle.rpc.limits import MAX_VALUES
from spincycle.runtime.off_loop import off_loop
from spincycle.text.shortening import shortened

M = TypeVar("M", bound=ProtoMessage)

JSON = "application/json"
_EMPTY = frozenset(
    {"application/xml", "text/xml", "application/x-www-form-urlencoded", "multipart/form-data"}
)
"""Media types that the original accepts but decodes to an empty message."""


_LONGEST = 1000

_LARGE = 8 * 1024
"""Bytes of a body from which on it is decoded in a thread."""


async def decode(http: HttpRequest, table: MessageCodec[M]) -> M:
    """Decode the body of a call; see `decode_body`."""
    content_type = http.headers.get("content-type", "")
    is_large = len(http.body) >= _LARGE
    return await off_loop(is_large, lambda: decode_body(http.body, content_type, table))


def decode_body(body: bytes, content_type: str, table: MessageCodec[M]) -> M:
    """Decode a body; an empty body gives an empty message.

    Raises:
        HttpError: 415 if the content type is not JSON, 413 if the body has too many values, 400
            if it cannot be decoded.
    """
    if not body:
        return table.message()
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _EMPTY:
        return table.message()
    if media_type != JSON:
        raise HttpError(415, "Unsupported Media Type")
    try:
        text, value = parse(body)
        if isinstance(value, dict | list) and holds_more(value, MAX_VALUES):
            raise HttpError(413, f"the body has more than {MAX_VALUES} values")
        return table.message() if value is None else table.decode(value, JsonPath())
    except (SyntaxProblem, Unreadable) as problem:
        raise HttpError(400, shortened(str(problem), _LONGEST))
    except Mismatch as mismatch:
        raise HttpError(400, _mismatch_message(text, mismatch))


def _mismatch_message(text: bytes, mismatch: Mismatch) -> str:
    expected = f"Unmarshal type error: expected={mismatch.go}, got={mismatch.got}"
    if len(text) > LARGE:
        return f"{expected}, field={mismatch.field}"
    offset, literal = locate(text, mismatch.path)
    number = f" {literal}" if mismatch.got == "number" and mismatch.go not in _NO_NUMBERS else ""
    return f"{expected}{number}, field={mismatch.field}, offset={offset}"


_NO_NUMBERS = frozenset({"string", "bool", "[]uint8"})
