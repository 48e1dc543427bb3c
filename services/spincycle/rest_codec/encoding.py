"""JSON text as Go's encoding/json writes it."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import orjson

Json = Any
"""What orjson can write: None, bool, int, float, str, list, dict, Fragment."""

_ESCAPED = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)
_EXACT = 2.0**53
_PLAIN = 1e21
_SMALL = 1e-6
_POINT = 1e-3


def to_text(value: Json) -> bytes:
    """One JSON value, with HTML characters escaped and a newline at the end."""
    return to_part(value) + b"\n"


def to_part(value: Json) -> bytes:
    """One JSON value within a longer text, without a newline."""
    text = orjson.dumps(value)
    # These characters stand inside strings only, so the text can be searched as a whole.
    for character, escape in _ESCAPED:
        if character in text:
            text = text.replace(character, escape)
    return text


def number(value: float) -> Json:
    """A float64 in Go's form: whole ones without a point, exponents from 1e21 and below 1e-6.

    JSON has no NaN and no infinity: they become null.
    """
    if value.is_integer() and -_EXACT < value < _EXACT and (value or math.copysign(1, value) > 0):
        return int(value)
    if not math.isfinite(value):
        return None
    size = abs(value)
    if value and (size < _SMALL or size >= _PLAIN):
        mantissa, _, exponent = repr(value).partition("e")
        if not exponent:
            return value
        sign, digits = exponent[0], exponent[1:].lstrip("0")
        return orjson.Fragment(f"{mantissa.removesuffix('.0')}e{sign}{digits}".encode())
    if value.is_integer() or size < _POINT:
        return orjson.Fragment(f"{Decimal(repr(value)):f}".removesuffix(".0").encode())
    return value
