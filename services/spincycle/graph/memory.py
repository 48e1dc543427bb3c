"""Estimates and limits the memory of chains while they are built and stored.

The constants are for the peak of the process, when a chain exists as objects, as a message and as
bytes; tests/unit/graph/test_memory.py measures them.
"""

from __future__ import annotations

import weakref
from threading import RLock
from typing import TYPE_CHECKING

from spincycle.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.model.job_chain import JobChain, Value

JOB_BYTES = 2_000
"""Bytes of a job without arguments."""

VALUE_BYTES = 64
"""Bytes of a value without its text."""

MAP_BYTES = 128
"""Bytes of a map without its entries."""

ENTRY_BYTES = 128
"""Bytes of an entry of a map without its key and value."""

TEXT_COPIES = 3
"""Number of copies of a text or of a job's serialized form."""

UNCOUNTED_BYTES = 1024 * 1024
"""Bytes up to which the memory of a chain is not counted against the budget."""

_MIN_CACHED_BYTES = 4_096


class MemoryBudget:
    """Limits the total memory of the chains that are being built and stored in a process.

    Args:
        limit: maximum bytes in total; a single chain may exceed it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = RLock()
        self.reserved = 0

    def reserve(self, size: int, existing: int) -> None:
        """Reserve `size` bytes for a chain that has already reserved `existing`.

        Raises:
            Overloaded: the other chains leave too little memory.
        """
        with self._lock:
            if self.reserved > existing and self.reserved + size > self._limit:
                raise Overloaded(existing + size, self.reserved - existing, self._limit)
            self.reserved += size

    def release(self, size: int) -> None:
        """Release reserved bytes."""
        with self._lock:
            self.reserved -= size


class ChainMemory:
    """Estimates the memory of one chain while it is built, and reserves it.

    Attributes:
        size: estimate so far, in bytes.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._reserved = 0
        self._sizes: dict[int, tuple[Value, int]] = {}
        self.size = 0

    def size_of_job(self, args: Iterable[Value], data: bytes, path: str) -> int:
        """Return the bytes of a job with these arguments, this serialized form and this path."""
        size = JOB_BYTES + TEXT_COPIES * len(data) + self.size_of(path)
        for value in args:
            size += self.size_of(value)
        return size

    def size_of(self, value: Value) -> int:
        """Return the bytes of a value; an object that many jobs share is measured once."""
        if isinstance(value, str):
            if value.isascii():
                return VALUE_BYTES + TEXT_COPIES * len(value)
        elif not isinstance(value, list | dict):
            return VALUE_BYTES
        cached = self._sizes.get(id(value))
        if cached is not None:
            return cached[1]
        size = _measure(value)
        if size >= _MIN_CACHED_BYTES:
            self._sizes[id(value)] = value, size
        return size

    def add(self, size: int) -> None:
        """Add `size` bytes to the estimate.

        Raises:
            Overloaded: other chains currently use the memory of this process.
        """
        self.size += size
        if self.size - self._reserved > UNCOUNTED_BYTES:
            more = self.size - self._reserved
            self._budget.reserve(more, self._reserved)
            self._reserved += more

    def release(self) -> None:
        """Release the reserved memory."""
        self._budget.release(self._reserved)
        self._reserved = 0

    def release_with(self, chain: JobChain) -> None:
        """Release the reserved memory once the chain is garbage."""
        if self._reserved:
            weakref.finalize(chain, self._budget.release, self._reserved)


def _measure(value: Value) -> int:
    size = 0
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        size += VALUE_BYTES
        if isinstance(inner, str):
            size += TEXT_COPIES * _length(inner)
        elif isinstance(inner, list):
            waiting.extend(inner)
        elif isinstance(inner, dict):
            size += MAP_BYTES + sum(ENTRY_BYTES + TEXT_COPIES * _length(key) for key in inner)
            waiting.extend(inner.values())
    return size


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
