"""Bounds of what callers' messages hold in memory, per listener."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from spincycle.errors import Overloaded

LEAST_PATIENCE = 1.0
"""Seconds that a call has to send its message, however many others wait."""


class BytesInFlight:
    """Counts the bytes of the messages of calls that have not ended.

    Args:
        limit: most bytes together. A call that holds more than that alone is accepted if no
            other one is in flight.
    """

    __slots__ = ("_limit", "held")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def hold(self, size: int, own: int = 0) -> None:
        """Add a message; `own` is what its call holds already.

        Raises:
            Overloaded: the limit would be exceeded.
        """
        if size and self.held > own and self.held + size > self._limit:
            raise Overloaded(size, self.held, self._limit)
        self.held += size

    def release(self, size: int) -> None:
        """Take back `hold`."""
        self.held -= size


class Held:
    """Counts what a call has sent while a `with` block lasts."""

    __slots__ = ("_in_flight", "_size")

    def __init__(self, in_flight: BytesInFlight, size: int = 0) -> None:
        self._in_flight = in_flight
        self._size = size

    def __enter__(self) -> Held:
        """Count `size`; see `BytesInFlight.hold`."""
        self._in_flight.hold(self._size)
        return self

    def add(self, size: int) -> None:
        """Count more of the same call; see `BytesInFlight.hold`."""
        self._in_flight.hold(size, self._size)
        self._size += size

    def release(self) -> None:
        """Count no longer what was counted so far."""
        self._in_flight.release(self._size)
        self._size = 0

    def __exit__(self, *_: object) -> None:
        """Count it no longer."""
        self._in_flight.release(self._size)


class ReadSlots:
    """Bounds the calls whose first message is being received.

    gRPC decompresses a message before a handler gets it, so that what calls send together is
    bounded by how many of them are read at a time. A call has its slot from its arrival until
    its message is counted by BytesInFlight or it ends. While other calls wait, a call that does
    not send its message in time is cancelled. The more calls wait, the shorter that time is, so
    that callers who send nothing cannot delay the others for long.

    Args:
        limit: most slots.
        patience: seconds to send the message while few others wait.
        least_patience: seconds to send it however many others wait.
    """

    def __init__(self, limit: int, patience: float, least_patience: float = LEAST_PATIENCE) -> None:
        self._limit = limit
        self._patience = patience
        self._least_patience = min(patience, least_patience)
        self._held: dict[asyncio.Task[object], float] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._eviction: asyncio.TimerHandle | None = None

    async def acquire(self) -> None:
        """Wait for a slot of the current task."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._held) >= self._limit or self._waiting:
            await self._wait()
        self._held[task] = asyncio.get_running_loop().time()
        task.add_done_callback(self._free)

    def release(self) -> None:
        """Release the slot of the current task, if it has one."""
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
                self._serve()
            else:
                with suppress(ValueError):
                    self._waiting.remove(turn)
            raise

    def _free(self, task: asyncio.Task[object]) -> None:
        if self._held.pop(task, None) is not None:
            self._serve()

    def _serve(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _evict(self, due: float) -> None:
        """Cancel calls that have been read for too long, now and while others wait.

        Not if this is done long after it was due: the loop was held up, and nothing was read.
        """
        self._eviction = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        patience = self._patience_now()
        since = loop.time() - patience
        if loop.time() - due < LEAST_PATIENCE / 2:
            for task in [task for task, began in self._held.items() if began <= since]:
                task.cancel()
        oldest = min(self._held.values(), default=loop.time())
        delay = max(oldest + patience - loop.time(), patience / 10)
        due = loop.time() + delay
        self._eviction = loop.call_at(due, self._evict, due)

    def _patience_now(self) -> float:
        """Seconds: a caller of a small message sends it at once, whoever else there is."""
        crowd = 1 + len(self._waiting) / self._limit
        return max(self._patience / crowd**2, self._least_patience)
