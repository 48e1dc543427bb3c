"""How long a runner can be sure that its chains are its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Lease:
    """Holds for as long after an answered beat as the request managers wait for the next one.

    Until then nobody gives this runner up. After it anybody may: its requests may be running
    elsewhere, and may have got further there. So no job is begun until a beat is answered
    again. Running jobs go on meanwhile; if the runner was given up, their ends do not count.

    The clock must go on while the process is frozen, as CLOCK_MONOTONIC does.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> float:
        """The time, to be noted before a beat is sent."""
        return self._clock()

    def holds(self) -> bool:
        """Whether nobody can have given this runner up by now."""
        return self._clock() < self._until

    def renew(self, beaten_at: float, silence_limit: float) -> None:
        """A beat that was sent at `beaten_at` was answered."""
        held = self.holds()
        self._until = max(self._until, beaten_at + silence_limit)
        if not held:
            for listener in self._listeners:
                listener()

    def end(self) -> None:
        """The runner was given up."""
        self._until = float("-inf")

    def on_renewal(self, listener: Callable[[], None]) -> None:
        """Have `listener` called when the lease holds again after it had not."""
        self._listeners.append(listener)
