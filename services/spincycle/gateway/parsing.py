"""JSON texts into plain values, at a cost that hangs on their size alone."""

from __future__ import annotations

import json
from typing import Any

import orjson

from spincycle.gateway.scanner import SyntaxProblem, first_value

LARGE = 64 * 1024
"""Bytes from which on a text is not scanned by hand to tell what is wrong in Go's words."""

_MOST_DIGITS = 20
_ENDS = frozenset({"unexpected end of data", "input data is empty"})
_GO_READS = ("surrogate", "number is infinity")
_GOS_WORDS = {"depth limit exceeded": "exceeded max depth"}
_BEHIND = "unexpected content after document"


def parse(text: bytes) -> tuple[bytes, Any]:
    """The text that was read in the end, and its first value; what follows that is ignored.

    What is no UTF-8 becomes U+FFFD.

    Raises:
        SyntaxProblem: there is no value.
    """
    try:
        return text, orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _parse_large(text, error) if len(text) > LARGE else _scanned(text)


def holds_more(value: Any, most: int) -> bool:
    """Whether a value has more than so many values in it."""
    found = 0
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        inner = inner.values() if isinstance(inner, dict) else inner
        found += len(inner)
        if found > most:
            return True
        waiting.extend(each for each in inner if isinstance(each, dict | list))
    return False


def _scanned(text: bytes) -> tuple[bytes, Any]:
    first = first_value(text).decode("utf-8", "replace")
    try:
        return first.encode(), orjson.loads(first)
    except orjson.JSONDecodeError:
        # A lone surrogate or a number beyond a double: Go has an answer to either.
        return first.encode(), json.loads(first, parse_int=_whole)


def _parse_large(text: bytes, error: orjson.JSONDecodeError) -> tuple[bytes, Any]:
    mended = text.decode("utf-8", "replace")
    if not error.doc:
        try:
            return mended.encode(), orjson.loads(mended)
        except orjson.JSONDecodeError as other:
            error = other
    if error.msg == _BEHIND:
        mended = mended[: error.pos]
        return mended.encode(), orjson.loads(mended)
    if error.msg in _ENDS:
        raise SyntaxProblem("unexpected EOF")
    if any(words in error.msg for words in _GO_READS):
        try:
            return mended.encode(), _LENIENT.raw_decode(mended.lstrip(" \t\r\n"))[0]
        except (ValueError, RecursionError) as other:
            raise SyntaxProblem(f"Syntax error: error={other}")
    told = _GOS_WORDS.get(error.msg, error.msg)
    raise SyntaxProblem(f"Syntax error: offset={error.pos + 1}, error={told}")


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


_LENIENT = json.JSONDecoder(parse_int=_whole, parse_constant=_no_number)
