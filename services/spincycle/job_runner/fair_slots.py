"""A counting semaphore that serves its owners round-robin, so that no chain starves another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PER_TURN = 100
"""Callbacks that are started per turn of the event loop."""


class FairSlots:
    """Limits concurrency to `limit` slots; waiters are served owner by owner, first in first out.

    Nothing polls: a released slot is passed to the next waiter immediately. No slot is granted
    while `may_start` returns False; call `dispatch` when it returns True again. `limit` None
    means no limit.
    """

    def __init__(
        self, limit: int | None = None, may_start: Callable[[], bool] = lambda: True
    ) -> None:
        self._limit = limit
        self._may_start = may_start
        self._in_use = 0
        self._queues: dict[str, dict[str, Callable[[], None]]] = {}
        self._started_this_turn = 0
        self._dispatching = False

    @property
    def in_use(self) -> int:
        """Number of slots in use."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """Number of waiters."""
        return sum(map(len, self._queues.values()))

    def acquire(self, owner: str, key: str, start: Callable[[], None]) -> None:
        """Call `start` once a slot is free, possibly before this method returns.

        The slot stays in use until `release` is called.
        """
        self._queues.setdefault(owner, {})[key] = start
        self.dispatch()

    def withdraw(self, owner: str, key: str) -> bool:
        """Remove a waiter from the queue; return False if it does not wait."""
        queue = self._queues.get(owner, {})
        if key not in queue:
            return False
        del queue[key]
        if not queue:
            del self._queues[owner]
        return True

    def release(self) -> None:
        """Free a slot."""
        self._in_use -= 1
        self.dispatch()

    def dispatch(self) -> None:
        """Start waiters for as long as slots are free and `may_start` permits it."""
        if self._dispatching:
            return
        self._dispatching = True
        try:
            while self._queues and self._has_free_slot() and self._may_start():
                if self._started_this_turn >= PER_TURN:
                    return
                if not self._started_this_turn:
                    asyncio.get_running_loop().call_soon(self._next_turn)
                self._started_this_turn += 1
                self._in_use += 1
                self._next_waiter()()
        finally:
            self._dispatching = False

    def _next_turn(self) -> None:
        self._started_this_turn = 0
        self.dispatch()

    def _has_free_slot(self) -> bool:
        return self._limit is None or self._in_use < self._limit

    def _next_waiter(self) -> Callable[[], None]:
        owner = next(iter(self._queues))
        queue = self._queues.pop(owner)
        start = queue.pop(next(iter(queue)))
        if queue:
            self._queues[owner] = queue
        return start
