"""What chains take in memory while they are built and written, and how much they may take.

The figures are those of the process at its peak, when a chain is there as objects, as a message and
as bytes: tests/unit/graph/test_memory.py measures them.
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
"""Bytes of a value, beside its text."""

MAP_BYTES = 128
"""Bytes of a map, beside its entries."""

ENTRY_BYTES = 128
"""Bytes of an entry of a map, beside its key and its value."""

TEXT_COPIES = 3
"""How often a text or a job's serialized form is there."""

SMALL = 1024 * 1024
"""Bytes up to which the memory of a chain is not counted among those of all chains."""

_WORTH_REMEMBERING = 4_096


class ChainsInMemory:
    """Counts the memory of the chains that are being built, written and stored in a process.

    Args:
        limit: most bytes together. A chain alone is not refused here.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = RLock()
        self.held = 0

    def hold(self, size: int, own: int) -> None:
        """Add `size` bytes of a chain that holds `own` already.

        Raises:
            Overloaded: the other chains leave no room.
        """
        with self._lock:
            if self.held > own and self.held + size > self._limit:
                raise Overloaded(own + size, self.held - own, self._limit)
            self.held += size

    def release(self, size: int) -> None:
        """Take back `hold`."""
        with self._lock:
            self.held -= size


class ChainMemory:
    """Estimates the memory of one chain while it grows.

    Attributes:
        size: bytes so far.
    """

    def __init__(self, all_chains: ChainsInMemory) -> None:
        self._all = all_chains
        self._held = 0
        self._known: dict[int, tuple[Value, int]] = {}
        self.size = 0

    def size_of_job(self, args: Iterable[Value], data: bytes) -> int:
        """Bytes of a job with these arguments and this serialized form."""
        size = JOB_BYTES + TEXT_COPIES * len(data)
        for value in args:
            size += self.size_of(value)
        return size

    def size_of(self, value: Value) -> int:
        """Bytes of a value. The same one is measured once, however many jobs get it."""
        if isinstance(value, str):
            if value.isascii():
                return VALUE_BYTES + TEXT_COPIES * len(value)
        elif not isinstance(value, list | dict):
            return VALUE_BYTES
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        size = _measure(value)
        if size >= _WORTH_REMEMBERING:
            self._known[id(value)] = value, size
        return size

    def add(self, size: int) -> None:
        """Count so many bytes more.

        Raises:
            Overloaded: other chains take the memory of this process now.
        """
        self.size += size
        if self.size - self._held > SMALL:
            more = self.size - self._held
            self._all.hold(more, self._held)
            self._held += more

    def release(self) -> None:
        """Count none of it any longer."""
        self._all.release(self._held)
        self._held = 0

    def release_with(self, chain: JobChain) -> None:
        """Count it until nobody refers to the chain."""
        if self._held:
            weakref.finalize(chain, self._all.release, self._held)


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
