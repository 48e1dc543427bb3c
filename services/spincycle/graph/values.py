"""Argument values: which ones can be stored, and copies that nobody else can change."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spincycle.model.exact_numbers import BEYOND, is_exact, joined
from spincycle.model.job_chain import VALUE_DEPTH

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value


class UnfitValue(ValueError):
    """A value that cannot be stored.

    Attributes:
        problem: what is wrong, without the value itself.
        path: where in the value, for example `[0].id`; empty for the value as a whole.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self.path = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" if self.path else self.problem


def plain(value: object, depth: int = 0) -> Value:
    """Return a copy of a value, made of what JSON can say; a tuple becomes a list.

    Raises:
        UnfitValue: it holds something that JSON cannot say, or a number that cannot be kept
            exactly.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        if not is_exact(value):
            raise UnfitValue(BEYOND)
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnfitValue("a number is not finite")
        if not is_exact(value):
            raise UnfitValue(BEYOND)
        return float(value)
    if depth >= VALUE_DEPTH:
        raise UnfitValue(f"lists and maps are nested deeper than {VALUE_DEPTH}")
    if isinstance(value, list | tuple):
        return [_within(f"[{place}]", element, depth) for place, element in enumerate(value)]
    if isinstance(value, dict):
        return {_key(key): _within(key, element, depth) for key, element in value.items()}
    raise UnfitValue(f"a {type(value).__name__} cannot be stored")


def _within(step: str, value: object, depth: int) -> Value:
    try:
        return plain(value, depth + 1)
    except UnfitValue as unfit:
        unfit.path = joined(step, unfit.path)
        raise


def copied(value: Value) -> Value:
    """The value itself if nobody can change it, and a deep copy of a list or a map."""
    if isinstance(value, list):
        return [copied(element) for element in value]
    if isinstance(value, dict):
        return {key: copied(element) for key, element in value.items()}
    return value


def type_name(value: Value) -> str:
    """What a value is, in the words of JSON, with an article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "a map"


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise UnfitValue("a key of a map is not a text")
    return _text(key)


def _text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UnfitValue("a text is not valid Unicode") from None
    return str(text)
