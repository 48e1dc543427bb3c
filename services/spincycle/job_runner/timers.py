"""The waits of one chain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Timers:
    """Calls `elapsed` with the token of each wait that is over."""

    __slots__ = ("_elapsed", "_handles")

    def __init__(self, elapsed: Callable[[int], None]) -> None:
        self._elapsed = elapsed
        self._handles: dict[int, asyncio.TimerHandle] = {}

    def start(self, token: int, seconds: float) -> None:
        """Begin a wait."""
        loop = asyncio.get_running_loop()
        self._handles[token] = loop.call_later(seconds, self._over, token)

    def cancel(self, token: int) -> None:
        """Forget a wait, if it is not over."""
        if token in self._handles:
            self._handles.pop(token).cancel()

    def cancel_all(self) -> None:
        """Forget all waits."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _over(self, token: int) -> None:
        self._handles.pop(token, None)
        self._elapsed(token)
