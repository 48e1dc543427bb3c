"""Bodies into messages, with the original's answers to what cannot be decoded."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message as ProtoMessage

from spincycle.gateway.exchange import HttpRequest
from spincycle.gateway.failures import HttpError
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
"""Types that the original's framework reads as well, with nothing arriving in the fields."""


_LONGEST = 1000

_HELD_UP = 8 * 1024
"""Bytes of body from which on decoding may not hold up the loop."""


async def decode(call: HttpRequest, table: MessageCodec[M]) -> M:
    """The message in the body of a call; see `decode_body`."""
    content_type = call.headers.get("content-type", "")
    is_large = len(call.body) >= _HELD_UP
    return await off_loop(is_large, lambda: decode_body(call.body, content_type, table))


def decode_body(body: bytes, content_type: str, table: MessageCodec[M]) -> M:
    """The message in a body; a body of length 0 gives the message with nothing set.

    Raises:
        HttpError: 415 if the body is no JSON by its type, 413 if it holds too many values, 400
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
            raise HttpError(413, f"the body holds more than {MAX_VALUES} values")
        return table.message() if value is None else table.decode(value, JsonPath())
    except (SyntaxProblem, Unreadable) as problem:
        raise HttpError(400, shortened(str(problem), _LONGEST))
    except Mismatch as mismatch:
        raise HttpError(400, _told(text, mismatch))


def _told(text: bytes, mismatch: Mismatch) -> str:
    expected = f"Unmarshal type error: expected={mismatch.go}, got={mismatch.got}"
    if len(text) > LARGE:
        return f"{expected}, field={mismatch.field}"
    offset, literal = locate(text, mismatch.path)
    number = f" {literal}" if mismatch.got == "number" and mismatch.go not in _NO_NUMBERS else ""
    return f"{expected}{number}, field={mismatch.field}, offset={offset}"


_NO_NUMBERS = frozenset({"string", "bool", "[]uint8"})
