"""Job data: each job gets its own copy of what its parents left, and only what JSON can say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spincycle.model.exact_numbers import BEYOND, is_exact
from spincycle.model.job_chain import VALUE_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.model.job_chain import Value


class UnfitJobData(Exception):
    """Job data cannot be handed to the next job."""


DATA_LIMIT = 256 * 1024
"""Bytes of job data, as JSON, that a job may leave, unless told otherwise."""


def merged(parts: Iterable[dict[str, Value]]) -> dict[str, Value]:
    """One mapping of all parts' keys; of equal keys the last one wins. Values are shared."""
    held = [part for part in parts if part]
    if len(held) == 1:
        return held[0]
    whole: dict[str, Value] = {}
    for part in held:
        whole.update(part)
    return whole


def own_copy(data: object, limit: int = DATA_LIMIT) -> dict[str, Value]:
    """Return a copy that shares nothing with `data`; tuples become lists.

    An int must be exact as a double. A float is a double already and is kept as it is, however
    large: the job has run, and nothing of its result would be lost.

    Raises:
        UnfitJobData: `data` is no mapping of names to what JSON can say, or too large.
    """
    if not isinstance(data, dict):
        raise UnfitJobData(f"job data is type {type(data).__name__}, expected type dict")
    if not data:
        return {}
    copier = _Copier(limit)
    whole: dict[str, Value] = {}
    for name, value in data.items():
        copier.take(len(_key(name, "job data")) + 4)
        whole[name] = copier.copy(value, name, 0)
    return whole


class _Copier:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit

    def copy(self, value: object, name: str, depth: int) -> Value:
        if value is None or value is True or value is False:
            self.take(5)
            return value
        if isinstance(value, str):
            self.take(len(_sound(value, f"job data {name}").encode()) + 2)
            return str(value)
        if isinstance(value, int):
            if not is_exact(value):
                raise UnfitJobData(f"job data {name}: {BEYOND}")
            self.take(18)
            return int(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise UnfitJobData(f"job data {name}: {value} is not a number that JSON has")
            self.take(24)
            return float(value)
        if depth >= VALUE_DEPTH:
            raise UnfitJobData(f"job data {name} is nested deeper than {VALUE_DEPTH} levels")
        if isinstance(value, list | tuple):
            self.take(2)
            return [self.copy(item, name, depth + 1) for item in value]
        if isinstance(value, dict):
            self.take(2)
            whole: dict[str, Value] = {}
            for key, item in value.items():
                self.take(len(_key(key, name)) + 4)
                whole[key] = self.copy(item, name, depth + 1)
            return whole
        raise UnfitJobData(f"job data {name} holds a {type(value).__name__}, which JSON cannot say")

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise UnfitJobData(f"job data is larger than {self._limit} bytes")


def _key(key: object, name: str) -> str:
    if not isinstance(key, str):
        raise UnfitJobData(f"a key in {name} is type {type(key).__name__}, expected type str")
    return _sound(key, f"a key in {name}")


def _sound(text: str, where: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    if "\0" in text:
        raise UnfitJobData(f"{where} holds a NUL character, which cannot be stored")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnfitJobData(f"{where} holds text that is not valid Unicode") from None
    return text
