"""What was used lately, up to so many bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class ByteLru(Generic[Key]):
    """Bytes by key; what was not asked for the longest makes room.

    Only for what never changes: nothing is ever dropped because it has become wrong.

    Args:
        limit: bytes of all values together.
        largest: bytes of the largest value that is kept at all.
    """

    def __init__(self, limit: int, largest: int) -> None:
        self._limit = limit
        self._largest = largest
        self._size = 0
        self._values: OrderedDict[Key, tuple[bytes, int]] = OrderedDict()

    def get(self, key: Key) -> bytes | None:
        """The value, if it is still here."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def keep(self, key: Key, value: bytes, key_size: int = 0) -> None:
        """Keep a value; `key_size` is what the key adds to it, in bytes."""
        size = len(value) + key_size
        if size > self._largest or key in self._values:
            return
        self._values[key] = value, size
        self._size += size
        while self._size > self._limit:
            _, (_, dropped) = self._values.popitem(last=False)
            self._size -= dropped
