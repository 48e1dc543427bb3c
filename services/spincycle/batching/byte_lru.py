"""An LRU cache limited by bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class ByteLru(Generic[Key]):
    """A cache of bytes by key that evicts the least recently used values.

    For immutable values only: there is no invalidation.

    Args:
        limit: maximum bytes of all values and keys together.
        max_value: maximum bytes of a value with its key; larger values are not cached.
    """

    def __init__(self, limit: int, max_value: int) -> None:
        self._limit = limit
        self._max_value = max_value
        self._size = 0
        self._values: OrderedDict[Key, tuple[bytes, int]] = OrderedDict()

    def get(self, key: Key) -> bytes | None:
        """Return the value, or None if it is not cached."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: bytes, key_size: int = 0) -> None:
        """Cache a value; `key_size` is the size of the key in bytes."""
        size = len(value) + key_size
        if size > self._max_value or key in self._values:
            return
        self._values[key] = value, size
        self._size += size
        while self._size > self._limit:
            _, (_, evicted) = self._values.popitem(last=False)
            self._size -= evicted
