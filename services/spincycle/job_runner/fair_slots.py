"""Room for so many at once, given out in turn, so that no chain starves another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PER_TURN = 100
"""How many begin before the event loop gets to do something else."""


class FairSlots:
    """Lets at most `limit` begin at once; who waits is served owner by owner, in order.

    Nothing polls: a place that is given back goes to the next in line at once. None is given
    while `may_begin` says no; `serve` is to be called when it says yes again.
    """

    def __init__(
        self, limit: int | None = None, may_begin: Callable[[], bool] = lambda: True
    ) -> None:
        self._limit = limit
        self._may_begin = may_begin
        self._taken = 0
        self._lines: dict[str, dict[str, Callable[[], None]]] = {}
        self._begun_this_turn = 0
        self._serving = False

    @property
    def taken(self) -> int:
        """Places in use."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return sum(map(len, self._lines.values()))

    def ask(self, owner: str, key: str, begin: Callable[[], None]) -> None:
        """Have `begin` called, maybe before this returns, once there is a place."""
        self._lines.setdefault(owner, {})[key] = begin
        self.serve()

    def withdraw(self, owner: str, key: str) -> bool:
        """Leave the line; False if it was not waiting there."""
        line = self._lines.get(owner, {})
        if key not in line:
            return False
        del line[key]
        if not line:
            del self._lines[owner]
        return True

    def give_back(self) -> None:
        """Free a place."""
        self._taken -= 1
        self.serve()

    def serve(self) -> None:
        """Let those in line begin for whom there is a place."""
        if self._serving:
            return
        self._serving = True
        try:
            while self._lines and self._has_place() and self._may_begin():
                if self._begun_this_turn >= PER_TURN:
                    return
                if not self._begun_this_turn:
                    asyncio.get_running_loop().call_soon(self._next_turn)
                self._begun_this_turn += 1
                self._taken += 1
                self._next_in_line()()
        finally:
            self._serving = False

    def _next_turn(self) -> None:
        self._begun_this_turn = 0
        self.serve()

    def _has_place(self) -> bool:
        return self._limit is None or self._taken < self._limit

    def _next_in_line(self) -> Callable[[], None]:
        owner = next(iter(self._lines))
        line = self._lines.pop(owner)
        begin = line.pop(next(iter(line)))
        if line:
            self._lines[owner] = line
        return begin
