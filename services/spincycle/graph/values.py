"""Validates and copies argument values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spincycle.model.exact_numbers import BEYOND, is_exact, joined
from spincycle.model.job_chain import VALUE_DEPTH

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value


class InvalidValue(ValueError):
    """A value that cannot be stored.

    Attributes:
        problem: what is wrong, without the value.
        path: path within the value, for example `[0].id`; empty for the value as a whole.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self.path = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" if self.path else self.problem


def json_copy(value: object, depth: int = 0) -> Value:
    """Return a deep copy of JSON types; a tuple becomes a list.

    Raises:
        InvalidValue: the value contains something that JSON cannot represent, or a number that
            cannot be stored exactly.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        if not is_exact(value):
            raise InvalidValue(BEYOND)
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidValue("a number is not finite")
        if not is_exact(value):
            raise InvalidValue(BEYOND)
        return float(value)
    if depth >= VALUE_DEPTH:
        raise InvalidValue(f"lists and maps are nested deeper than {VALUE_DEPTH} levels")
    if isinstance(value, list | tuple):
        return [_within(f"[{place}]", element, depth) for place, element in enumerate(value)]
    if isinstance(value, dict):
        return {_key(key): _within(key, element, depth) for key, element in value.items()}
    raise InvalidValue(f"a {type(value).__name__} cannot be stored")


def _within(step: str, value: object, depth: int) -> Value:
    try:
        return json_copy(value, depth + 1)
    except InvalidValue as invalid:
        invalid.path = joined(step, invalid.path)
        raise


def deep_copy(value: Value) -> Value:
    """Return the value if it is immutable, or a deep copy of a list or a map."""
    if isinstance(value, list):
        return [deep_copy(element) for element in value]
    if isinstance(value, dict):
        return {key: deep_copy(element) for key, element in value.items()}
    return value


def type_name(value: Value) -> str:
    """Return the name of a value's JSON type, with an article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "a map"


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise InvalidValue("a key of a map is not a string")
    return _text(key)


def _text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidValue("a string is not valid Unicode") from None
    return str(text)
