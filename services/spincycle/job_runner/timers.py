"""Timers of one chain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Timers:
    """Calls `elapsed` with the token of each timer that expires."""

    __slots__ = ("_elapsed", "_handles")

    def __init__(self, elapsed: Callable[[int], None]) -> None:
        self._elapsed = elapsed
        self._handles: dict[int, asyncio.TimerHandle] = {}

    def start(self, token: int, seconds: float) -> None:
        """Start a timer."""
        loop = asyncio.get_running_loop()
        self._handles[token] = loop.call_later(seconds, self._expire, token)

    def cancel(self, token: int) -> None:
        """Cancel a timer unless it has expired."""
        if token in self._handles:
            self._handles.pop(token).cancel()

    def cancel_all(self) -> None:
        """Cancel all timers."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _expire(self, token: int) -> None:
        self._handles.pop(token, None)
        self._elapsed(token)
