"""Parses JSON in time linear in its size, whatever it contains."""

from __future__ import annotations

import json
from typing import Any

import orjson

from spincycle.gateway.scanner import SyntaxProblem, first_value

LARGE = 64 * 1024
"""Bytes from which on a text is not scanned for the exact error message of Go."""

_MOST_DIGITS = 20
_ENDS = frozenset({"unexpected end of data", "input data is empty"})
_GO_ACCEPTS = ("surrogate", "number is infinity")
_GO_MESSAGES = {"depth limit exceeded": "exceeded max depth"}
_TRAILING = "unexpected content after document"


def parse(text: bytes) -> tuple[bytes, Any]:
    """Parse the first value of a text; return the text that was parsed, and the value.

    Content after the value is ignored; invalid UTF-8 becomes U+FFFD.

    Raises:
        SyntaxProblem: the text does not begin with a JSON value.
    """
    try:
        return text, orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _parse_large(text, error) if len(text) > LARGE else _scanned(text)


def holds_more(value: Any, limit: int) -> bool:
    """Return whether a value contains more than `limit` values."""
    found = 0
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        inner = inner.values() if isinstance(inner, dict) else inner
        found += len(inner)
        if found > limit:
            return True
        waiting.extend(each for each in inner if isinstance(each, dict | list))
    return False


def _scanned(text: bytes) -> tuple[bytes, Any]:
    first = first_value(text).decode("utf-8", "replace")
    try:
        return first.encode(), orjson.loads(first)
    except orjson.JSONDecodeError:
        # Go accepts a lone surrogate and a number beyond a double.
        return first.encode(), json.loads(first, parse_int=_whole)


def _parse_large(text: bytes, error: orjson.JSONDecodeError) -> tuple[bytes, Any]:
    decoded = text.decode("utf-8", "replace")
    if not error.doc:
        try:
            return decoded.encode(), orjson.loads(decoded)
        except orjson.JSONDecodeError as other:
            error = other
    if error.msg == _TRAILING:
        decoded = decoded[: error.pos]
        return decoded.encode(), orjson.loads(decoded)
    if error.msg in _ENDS:
        raise SyntaxProblem("unexpected EOF")
    if any(words in error.msg for words in _GO_ACCEPTS):
        try:
            return decoded.encode(), _LENIENT.raw_decode(decoded.lstrip(" \t\r\n"))[0]
        except (ValueError, RecursionError) as other:
            raise SyntaxProblem(f"Syntax error: error={other}")
    message = _GO_MESSAGES.get(error.msg, error.msg)
    raise SyntaxProblem(f"Syntax error: offset={error.pos + 1}, error={message}")


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


_LENIENT = json.JSONDecoder(parse_int=_whole, parse_constant=_no_number)
