"""Declared types of arguments: conversion and validation of values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.model.duration import parse_duration
from spincycle.model.job_chain import LARGEST_INT
from spincycle.spec.pattern import STEPS_PER_TEXT, compiled

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value

NAMES = ("string", "int", "bool", "list", "duration")
"""Types that an argument can declare."""

TRUE_WORDS = frozenset({"y", "yes", "on", "true"})
FALSE_WORDS = frozenset({"n", "no", "off", "false"})

_INT = re.compile(r"[+-]?[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ArgType:
    """Type and constraints of one argument; the default allows every value.

    `enum` and `pattern` apply to the value's text, or to each element of a list. `min` and `max`
    bound an int or a duration, or the length of a string or a list.

    Attributes:
        name: one of NAMES; empty if none is declared.
        enum: allowed texts; empty if all are allowed.
        pattern: RE2 expression that must match the whole text; empty if there is none.
        min: lower bound, inclusive, as written; empty if there is none.
        max: upper bound, inclusive, as written; empty if there is none.
    """

    name: str = ""
    enum: tuple[str, ...] = ()
    pattern: str = ""
    min: str = ""
    max: str = ""

    @property
    def free(self) -> bool:
        """Whether every value is allowed."""
        return not (self.name or self.enum or self.pattern or self.min or self.max)

    def convert(self, value: Value) -> Value:
        """Convert a value to the declared type: "5" to 5 for an int, "a,b" to a list of two.

        Raises:
            ValueError: the value has another type or violates a constraint; the message
                describes the requirement and does not contain the value.
        """
        if self.free:
            return value
        converted = _CONVERT[self.name](value)
        self._check_texts(converted)
        self._check_bounds(converted)
        return converted

    def pattern_steps(self, value: Value) -> int:
        """Return an upper bound of the steps to match an unconverted value with the pattern.

        One step takes at most about 10 ns; see spincycle.spec.pattern.
        """
        if not self.pattern:
            return 0
        elements = value.count(",") if self.name == "list" and isinstance(value, str) else 0
        return compiled(self.pattern).steps(_texts(value)) + elements * STEPS_PER_TEXT

    def _check_texts(self, value: Value) -> None:
        if not (self.enum or self.pattern):
            return
        texts = _texts(value)
        if self.enum and any(text not in self.enum for text in texts):
            raise ValueError(f"must be one of {', '.join(self.enum)}")
        if self.pattern and not compiled(self.pattern).check(texts):
            raise ValueError(f"must match the pattern {self.pattern}")

    def _check_bounds(self, value: Value) -> None:
        if not (self.min or self.max):
            return
        amount, unit = _amount(self.name, value)
        if self.min and amount < self.bound(self.min):
            raise ValueError(f"must be at least {self.min}{unit}")
        if self.max and amount > self.bound(self.max):
            raise ValueError(f"must be at most {self.max}{unit}")

    def bound(self, text: str) -> float:
        """Convert a bound to a number: seconds for a duration.

        Raises:
            ValueError: it is not a valid bound.
        """
        if self.name == "duration":
            return parse_duration(text)
        if not _INT.fullmatch(text):
            raise ValueError(f'"{text}" is not a whole number')
        return int(text)


def text_of(value: Value) -> str | None:
    """Return a scalar as the spec's `eq` and `enum` write it; None if it is not a scalar."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return None


def _texts(value: Value) -> list[str]:
    elements = value if isinstance(value, list) else [value]
    return [text for text in map(text_of, elements) if text is not None]


def _amount(name: str, value: Value) -> tuple[float, str]:
    if name == "duration":
        return parse_duration(str(value)), ""
    if isinstance(value, list):
        return len(value), " elements long"
    if isinstance(value, str):
        return len(value), " characters long"
    assert isinstance(value, int | float)
    return value, ""


def _any(value: Value) -> Value:
    if isinstance(value, list | dict) or text_of(value) is None:
        raise ValueError("must be a string or a number")
    return value


def _string(value: Value) -> Value:
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 - callers expect ValueError
    return value


def _int(value: Value) -> Value:
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and len(value) <= 40 and _INT.fullmatch(value.strip())
    ):
        number = int(value)
    if number is None or abs(number) > LARGEST_INT:
        raise ValueError(
            f"must be a whole number from -{LARGEST_INT} to {LARGEST_INT} (2^53-1); "
            "use the type string for larger ones"
        )
    return number


def _bool(value: Value) -> Value:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in TRUE_WORDS or word in FALSE_WORDS:
        return word in TRUE_WORDS
    raise ValueError("must be true or false")


def _list(value: Value) -> Value:
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")] if value.strip() else []
    raise ValueError("must be a list, or a string of elements separated by commas")


def _duration(value: Value) -> Value:
    if isinstance(value, str) and _is_duration(value):
        return value
    raise ValueError("must be a duration such as 300ms, 10s or 1h30m")


def _is_duration(text: str) -> bool:
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


_CONVERT = {
    "": _any,
    "string": _string,
    "int": _int,
    "bool": _bool,
    "list": _list,
    "duration": _duration,
}
