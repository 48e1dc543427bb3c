"""Reading together: who asks the same while a read of it is under way shares the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from spincycle import deadline

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class SharedReads(Generic[Key, Found]):
    """Makes one read of many, with no timer: the read under way is the timer.

    Each caller gets what a read found that began after the call, so nobody is told anything
    older than he would have read himself. An exception goes to all who share the read.
    """

    def __init__(self, read: Callable[[Key], Awaitable[Found]]) -> None:
        self._read = read
        self._next: dict[Key, asyncio.Future[Found]] = {}
        self._readers: dict[Key, asyncio.Task[None]] = {}

    async def get(self, key: Key) -> Found:
        """What is read for the key. A caller that is cancelled leaves the others alone."""
        shared = self._next.get(key)
        if shared is None:
            shared = self._next[key] = asyncio.get_running_loop().create_future()
            if key not in self._readers:
                self._readers[key] = asyncio.create_task(
                    self._keep_reading(key), context=deadline.outlasting()
                )
        return await asyncio.shield(shared)

    async def _keep_reading(self, key: Key) -> None:
        try:
            while (shared := self._next.pop(key, None)) is not None:
                try:
                    found = await self._read(key)
                except asyncio.CancelledError:
                    shared.cancel()
                    raise
                except Exception as error:  # noqa: BLE001 # whatever it is belongs to the callers
                    shared.set_exception(error)
                    # Whoever is left has been told; all may have been cancelled meanwhile.
                    shared.exception()
                else:
                    shared.set_result(found)
        finally:
            # Not in a callback of the task: who asks before that would wait for ever.
            del self._readers[key]
