"""Bodies into messages, with the original's answers to what cannot be decoded."""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypeVar

import orjson
from google.protobuf.message import Message as ProtoMessage

from spincycle.gateway.exchange import Call
from spincycle.gateway.failures import HttpError
from spincycle.gateway.scanner import SyntaxProblem, first_value, locate
from spincycle.gateway.translate.kinds import Mismatch, Place, Unreadable
from spincycle.gateway.translate.tables import Table

M = TypeVar("M", bound=ProtoMessage)

JSON = "application/json"
_EMPTY = frozenset(
    {"application/xml", "text/xml", "application/x-www-form-urlencoded", "multipart/form-data"}
)
"""Types that the original's framework reads as well, with nothing arriving in the fields."""


_MOST_DIGITS = 20
_LARGE = 64 * 1024
"""Bytes of body from which on decoding may not hold up the loop."""


async def decode(call: Call, table: Table[M]) -> M:
    """The message in the body of a call; see `decode_body`."""
    content_type = call.headers.get("content-type", "")
    if len(call.body) < _LARGE:
        return decode_body(call.body, content_type, table)
    return await asyncio.to_thread(decode_body, call.body, content_type, table)


def decode_body(body: bytes, content_type: str, table: Table[M]) -> M:
    """The message in a body; a body of length 0 gives the message with nothing set.

    Raises:
        HttpError: 415 if the body is no JSON by its type, 400 if it cannot be decoded.
    """
    if not body:
        return table.message()
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _EMPTY:
        return table.message()
    if media_type != JSON:
        raise HttpError(415, "Unsupported Media Type")
    try:
        text, value = _parse(body)
        return table.message() if value is None else table.decode(value, Place())
    except SyntaxProblem as problem:
        raise HttpError(400, str(problem))
    except Unreadable as problem:
        raise HttpError(400, str(problem))
    except Mismatch as mismatch:
        raise HttpError(400, _told(text, mismatch))


def _parse(body: bytes) -> tuple[bytes, Any]:
    try:
        return body, orjson.loads(body)
    except orjson.JSONDecodeError:
        text = first_value(body).decode("utf-8", "replace")
    try:
        return text.encode(), orjson.loads(text)
    except orjson.JSONDecodeError:
        # A lone surrogate or a number beyond a double: Go has an answer to either.
        return text.encode(), json.loads(text, parse_int=_whole)


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _told(text: bytes, mismatch: Mismatch) -> str:
    offset, literal = locate(text, mismatch.path)
    number = f" {literal}" if mismatch.got == "number" and mismatch.go not in _NO_NUMBERS else ""
    return (
        f"Unmarshal type error: expected={mismatch.go}, got={mismatch.got}{number}, "
        f"field={mismatch.field}, offset={offset}"
    )


_NO_NUMBERS = frozenset({"string", "bool", "[]uint8"})
