"""Argument values: which ones can be stored, and copies that nobody else can change."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spincycle.job_chain import LARGEST_INT, VALUE_DEPTH

if TYPE_CHECKING:
    from spincycle.job_chain import Value


def plain(value: object, depth: int = 0) -> Value:
    """A copy of a value, made of what JSON can say; a tuple becomes a list.

    Raises:
        ValueError: it holds something that JSON cannot say; the text says what.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        if not -LARGEST_INT <= value <= LARGEST_INT:
            raise ValueError("a whole number beyond 2^53 must be written as text")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number is not finite")
        return float(value)
    if depth >= VALUE_DEPTH:
        raise ValueError(f"lists and maps are nested deeper than {VALUE_DEPTH}")
    if isinstance(value, list | tuple):
        return [plain(element, depth + 1) for element in value]
    if isinstance(value, dict):
        return {_key(key): plain(element, depth + 1) for key, element in value.items()}
    raise ValueError(f"a {type(value).__name__} cannot be stored")


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
        raise ValueError("a key of a map is not a text")  # noqa: TRY004 - one kind for callers
    return _text(key)


def _text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("a text is not valid Unicode") from None
    return str(text)
