"""Reading together: who asks the same while a read of it is under way shares the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from spincycle.runtime import deadline

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class _Shared(Generic[Found]):
    """One read, and how many callers still want what it finds."""

    def __init__(self) -> None:
        self.found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self.callers = 0
        self.reading: asyncio.Future[Found] | None = None


class SingleFlight(Generic[Key, Found]):
    """Makes one read of many, with no timer: the read under way is the timer.

    Each caller gets what a read found that began after the call, so nobody is told anything
    older than he would have read himself. An exception goes to all who share the read. A read
    that nobody waits for any longer is cancelled.
    """

    def __init__(self, read: Callable[[Key], Awaitable[Found]]) -> None:
        self._read = read
        self._next: dict[Key, _Shared[Found]] = {}
        self._readers: dict[Key, asyncio.Task[None]] = {}

    async def get(self, key: Key) -> Found:
        """What is read for the key. A caller that is cancelled leaves the others alone."""
        shared = self._next.get(key)
        if shared is None:
            shared = self._next[key] = _Shared()
            if key not in self._readers:
                self._readers[key] = asyncio.create_task(
                    self._keep_reading(key), context=deadline.without_deadline()
                )
        shared.callers += 1
        try:
            return await asyncio.shield(shared.found)
        finally:
            shared.callers -= 1
            if not shared.callers and shared.reading is not None:
                shared.reading.cancel()

    async def _keep_reading(self, key: Key) -> None:
        try:
            while (shared := self._next.pop(key, None)) is not None:
                if shared.callers:
                    await self._read_for(key, shared)
        finally:
            # Not in a callback of the task: who asks before that would wait for ever.
            del self._readers[key]

    async def _read_for(self, key: Key, shared: _Shared[Found]) -> None:
        reading = shared.reading = asyncio.ensure_future(self._read(key))
        try:
            await asyncio.wait([reading])
        except asyncio.CancelledError:
            reading.cancel()
            shared.found.cancel()
            raise
        if reading.cancelled():
            shared.found.cancel()
        elif error := reading.exception():
            shared.found.set_exception(error)
            # Whoever is left has been told; all may have been cancelled meanwhile.
            shared.found.exception()
        else:
            shared.found.set_result(reading.result())
