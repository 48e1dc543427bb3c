"""Finds numbers that cannot be stored exactly, and converts stored ones to text.

A double beyond LARGEST_INT is a whole number that the client may have rounded, so it is not
accepted as an argument, whatever its notation.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spincycle.model.job_chain import LARGEST_INT

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value

BEYOND = f"a number beyond +/-{LARGEST_INT} (2^53-1) cannot be kept exactly; write it as text"
"""Error text for a number that is not accepted."""

_MAX_PLAIN_INTEGER = 1e21
"""Limit up to which a number is written without an exponent."""


def is_exact(number: float) -> bool:
    """Return whether a number is within the bound; infinities and NaN are not."""
    return -LARGEST_INT <= number <= LARGEST_INT


def find_beyond(value: Value) -> str | None:
    """Return the path of the first number beyond the bound, or None if every number is exact.

    The path "" is the value itself. NaN is beyond the bound.
    """
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return None
    if isinstance(value, int | float):
        return None if is_exact(value) else ""
    steps = (
        [(f"[{index}]", element) for index, element in enumerate(value)]
        if isinstance(value, list)
        else list(value.items())
    )
    for step, element in steps:
        inner = find_beyond(element)
        if inner is not None:
            return joined(step, inner)
    return None


def joined(step: str, inner: str) -> str:
    """Return the path of an inner value; `step` is a key, or an index in brackets."""
    return step + (inner if not inner or inner.startswith("[") else f".{inner}")


def as_readable(value: Value) -> Value:
    """Return a stored value with numbers beyond the bound converted to text.

    Earlier versions accepted such numbers. jsonb stores the shortest digits of the double to which
    the number was rounded, so the text is exactly that double.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if is_exact(value) else _digits(value)
    if isinstance(value, list):
        return [as_readable(element) for element in value]
    if isinstance(value, dict):
        return {key: as_readable(element) for key, element in value.items()}
    return value


def _digits(number: float) -> str:
    double = float(number)
    return (
        str(int(double))
        if math.isfinite(double) and abs(double) < _MAX_PLAIN_INTEGER
        else str(double)
    )
