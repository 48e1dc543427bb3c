"""Deduplicates reads: identical calls that arrive during a read share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from spincycle.runtime import deadline

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class _Shared(Generic[Result]):
    """One read, and the number of callers that wait for its result."""

    def __init__(self) -> None:
        self.result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.callers = 0
        self.reading: asyncio.Future[Result] | None = None


class SingleFlight(Generic[Key, Result]):
    """Runs at most one read per key at a time, shared by concurrent callers, without a timer.

    Each caller gets the result of a read that started after its call, so no result is older than
    that of a separate read. An exception is raised to all callers that share the read. A read
    without waiting callers is cancelled.
    """

    def __init__(self, read: Callable[[Key], Awaitable[Result]]) -> None:
        self._read = read
        self._next: dict[Key, _Shared[Result]] = {}
        self._readers: dict[Key, asyncio.Task[None]] = {}

    async def get(self, key: Key) -> Result:
        """Return the result for the key; cancelling one caller does not affect the others."""
        shared = self._next.get(key)
        if shared is None:
            shared = self._next[key] = _Shared()
            if key not in self._readers:
                self._readers[key] = asyncio.create_task(
                    self._read_while_wanted(key), context=deadline.without_deadline()
                )
        shared.callers += 1
        try:
            return await asyncio.shield(shared.result)
        finally:
            shared.callers -= 1
            if not shared.callers and shared.reading is not None:
                shared.reading.cancel()

    async def _read_while_wanted(self, key: Key) -> None:
        try:
            while (shared := self._next.pop(key, None)) is not None:
                if shared.callers:
                    await self._read_for(key, shared)
        finally:
            # Not in the done callback: a caller that arrives before it would wait forever.
            del self._readers[key]

    async def _read_for(self, key: Key, shared: _Shared[Result]) -> None:
        reading = shared.reading = asyncio.ensure_future(self._read(key))
        try:
            await asyncio.wait([reading])
        except asyncio.CancelledError:
            reading.cancel()
            shared.result.cancel()
            raise
        if reading.cancelled():
            shared.result.cancel()
        elif error := reading.exception():
            shared.result.set_exception(error)
            # Mark the exception as retrieved: all callers may have been cancelled.
            shared.result.exception()
        else:
            shared.result.set_result(reading.result())
