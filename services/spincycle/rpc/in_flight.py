"""Limits of the memory that callers' messages hold, per listener."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Self

from spincycle.errors import Overloaded

MIN_READ_TIMEOUT = 1.0
"""Seconds that a call has to send its message, even if many others wait."""


class BytesInFlight:
    """Counts the bytes of the messages of calls that have not ended.

    Args:
        limit: maximum total of bytes. A single call may exceed it if no other call is in flight.
    """

    __slots__ = ("_limit", "held")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def hold(self, size: int, own: int = 0) -> None:
        """Add the bytes of a message; `own` are those that its call already holds.

        Raises:
            Overloaded: the limit would be exceeded.
        """
        if size and self.held > own and self.held + size > self._limit:
            raise Overloaded(size, self.held, self._limit)
        self.held += size

    def release(self, size: int) -> None:
        """Subtract bytes added by `hold`."""
        self.held -= size


class Held:
    """Counts the bytes that one call has sent, for the duration of a `with` block."""

    __slots__ = ("_in_flight", "_size")

    def __init__(self, in_flight: BytesInFlight, size: int = 0) -> None:
        self._in_flight = in_flight
        self._size = size

    def __enter__(self) -> Self:
        """Add `size`; raises as `BytesInFlight.hold`."""
        self._in_flight.hold(self._size)
        return self

    def add(self, size: int) -> None:
        """Add the bytes of another message; raises as `BytesInFlight.hold`."""
        self._in_flight.hold(size, self._size)
        self._size += size

    def release(self) -> None:
        """Subtract the bytes added so far."""
        self._in_flight.release(self._size)
        self._size = 0

    def __exit__(self, *_: object) -> None:
        """Subtract the bytes added so far."""
        self._in_flight.release(self._size)


class ReadSlots:
    """Limits the number of calls whose first message is being received.

    gRPC decompresses a message before the handler gets it, so the memory of unread messages is
    limited by the number of calls that are read at a time. A call holds its slot from its arrival
    until BytesInFlight counts its message or the call ends. While other calls wait, a call that
    does not send its message in time is cancelled. The timeout shrinks with the number of waiting
    calls, so that silent callers cannot delay the others for long.

    Args:
        limit: number of slots.
        timeout: seconds to send the message while few others wait.
        min_timeout: seconds to send the message while many others wait.
    """

    def __init__(self, limit: int, timeout: float, min_timeout: float = MIN_READ_TIMEOUT) -> None:
        self._limit = limit
        self._timeout = timeout
        self._min_timeout = min(timeout, min_timeout)
        self._held: dict[asyncio.Task[object], float] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._eviction: asyncio.TimerHandle | None = None

    async def acquire(self) -> None:
        """Acquire a slot for the current task."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._held) >= self._limit or self._waiting:
            await self._wait()
        self._held[task] = asyncio.get_running_loop().time()
        task.add_done_callback(self._free)

    def release(self) -> None:
        """Release the slot of the current task, if it holds one."""
        task = asyncio.current_task()
        if task is not None and task in self._held:
            task.remove_done_callback(self._free)
            self._free(task)

    async def _wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._eviction is not None:
            self._eviction.cancel()
        self._evict(asyncio.get_running_loop().time())
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._grant_next()
            else:
                with suppress(ValueError):
                    self._waiting.remove(turn)
            raise

    def _free(self, task: asyncio.Task[object]) -> None:
        if self._held.pop(task, None) is not None:
            self._grant_next()

    def _grant_next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _evict(self, due: float) -> None:
        """Cancel the calls that have exceeded the timeout, and reschedule while others wait.

        If this runs long after `due`, the event loop was blocked and could not read; nothing is
        cancelled then.
        """
        self._eviction = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        timeout = self._current_timeout()
        since = loop.time() - timeout
        if loop.time() - due < MIN_READ_TIMEOUT / 2:
            for task in [task for task, acquired in self._held.items() if acquired <= since]:
                task.cancel()
        oldest = min(self._held.values(), default=loop.time())
        delay = max(oldest + timeout - loop.time(), timeout / 10)
        due = loop.time() + delay
        self._eviction = loop.call_at(due, self._evict, due)

    def _current_timeout(self) -> float:
        """Return the timeout in seconds for the current number of waiting calls."""
        load = 1 + len(self._waiting) / self._limit
        return max(self._timeout / load**2, self._min_timeout)
