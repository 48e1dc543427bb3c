"""Numbers that cannot be kept exactly: where a value holds one, and the text to show for it.

A double beyond LARGEST_INT is a whole number and may have been rounded before it arrived, so it is
not accepted as an argument, whichever way it was written.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spincycle.model.job_chain import LARGEST_INT

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value

BEYOND = f"a number beyond +/-{LARGEST_INT} (2^53-1) cannot be kept exactly; write it as text"
"""What is wrong with a number that is not accepted, and what to do."""

_MOST_DIGITS = 1e21


def is_exact(number: float) -> bool:
    """Whether a number is within the bound; an infinity and NaN are not."""
    return -LARGEST_INT <= number <= LARGEST_INT


def find_beyond(value: Value) -> str | None:
    """Return the path of the first number beyond the bound; "" is the value itself.

    None if every number is exact. NaN counts as a number beyond the bound.
    """
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return None
    if isinstance(value, int | float):
        return None if is_exact(value) else ""
    steps = (
        [(f"[{place}]", element) for place, element in enumerate(value)]
        if isinstance(value, list)
        else list(value.items())
    )
    for step, element in steps:
        inner = find_beyond(element)
        if inner is not None:
            return joined(step, inner)
    return None


def joined(step: str, inner: str) -> str:
    """Return the path of an inner value: `step` is a key, or an index in brackets."""
    return step + (inner if not inner or inner.startswith("[") else f".{inner}")


def as_readable(value: Value) -> Value:
    """Return a stored value with numbers beyond the bound as text.

    Earlier versions accepted such numbers. jsonb keeps the shortest digits of the double that a
    number was rounded to when it arrived, so the text is that double, to the last digit.
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
    return str(int(double)) if math.isfinite(double) and abs(double) < _MOST_DIGITS else str(double)
