"""How much of what was read may be waiting for its commit."""

from __future__ import annotations

import asyncio
from collections import deque


class ByteWindow:
    """Bytes that may be under way at once; who wants more waits, first come first served.

    Something larger than the whole window is let through when nothing else is under way.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Return when there is room, which is then taken."""
        if not self._waiting and self._fits(size):
            self._taken += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give_back(size)
            self._let_in()
            raise

    def give_back(self, size: int) -> None:
        """Make room again."""
        self._taken -= size
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.cancelled():
                if not self._fits(size):
                    return
                self._taken += size
                turn.set_result(None)
            self._waiting.popleft()

    def _fits(self, size: int) -> bool:
        return not self._taken or self._taken + size <= self._size
