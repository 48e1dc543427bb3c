"""Job data: each job receives its own copy of its parents' data, which must be valid JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spincycle.model.exact_numbers import BEYOND, is_exact
from spincycle.model.job_chain import VALUE_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.model.job_chain import Value


class InvalidJobData(Exception):
    """Job data cannot be passed to the next job."""


DATA_LIMIT = 256 * 1024
"""Default limit of a job's data, in bytes of JSON."""


def merged(parts: Iterable[dict[str, Value]]) -> dict[str, Value]:
    """Return one mapping of all parts; a later part overrides equal keys. Values are shared."""
    filled = [part for part in parts if part]
    if len(filled) == 1:
        return filled[0]
    result: dict[str, Value] = {}
    for part in filled:
        result.update(part)
    return result


def copy_data(data: object, limit: int = DATA_LIMIT) -> dict[str, Value]:
    """Return a deep copy of `data`; tuples become lists.

    An int must be exactly representable as a double. A float is one already and is kept,
    however large.

    Raises:
        InvalidJobData: `data` is not a mapping of strings to JSON values, or is too large.
    """
    if not isinstance(data, dict):
        raise InvalidJobData(f"job data is type {type(data).__name__}, expected type dict")
    if not data:
        return {}
    copier = _Copier(limit)
    result: dict[str, Value] = {}
    for name, value in data.items():
        copier.charge(len(_key(name, "job data")) + 4)
        result[name] = copier.copy(value, name, 0)
    return result


class _Copier:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._remaining = limit

    def copy(self, value: object, name: str, depth: int) -> Value:
        if value is None or value is True or value is False:
            self.charge(5)
            return value
        if isinstance(value, str):
            self.charge(len(_storable(value, f"job data {name}").encode()) + 2)
            return str(value)
        if isinstance(value, int):
            if not is_exact(value):
                raise InvalidJobData(f"job data {name}: {BEYOND}")
            self.charge(18)
            return int(value)
        if isinstance(value, float):
            if not math.isfinite(value):
                raise InvalidJobData(f"job data {name}: {value} is not a valid JSON number")
            self.charge(24)
            return float(value)
        if depth >= VALUE_DEPTH:
            raise InvalidJobData(f"job data {name} is nested deeper than {VALUE_DEPTH} levels")
        if isinstance(value, list | tuple):
            self.charge(2)
            return [self.copy(item, name, depth + 1) for item in value]
        if isinstance(value, dict):
            self.charge(2)
            result: dict[str, Value] = {}
            for key, item in value.items():
                self.charge(len(_key(key, name)) + 4)
                result[key] = self.copy(item, name, depth + 1)
            return result
        kind = type(value).__name__
        raise InvalidJobData(f"job data {name} has type {kind}, which JSON cannot represent")

    def charge(self, size: int) -> None:
        self._remaining -= size
        if self._remaining < 0:
            raise InvalidJobData(f"job data is larger than {self._limit} bytes")


def _key(key: object, name: str) -> str:
    if not isinstance(key, str):
        raise InvalidJobData(f"a key in {name} is type {type(key).__name__}, expected type str")
    return _storable(key, f"a key in {name}")


def _storable(text: str, where: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    if "\0" in text:
        raise InvalidJobData(f"{where} contains a NUL character, which cannot be stored")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidJobData(f"{where} is not valid Unicode") from None
    return text
