"""Whether a loop still turns, for health."""

from __future__ import annotations

import time
from collections.abc import Callable

SLOW_AFTER = 5.0
"""Seconds without a turn after which the process does not call itself ready."""

DEAD_AFTER = 60.0
"""Seconds without a turn after which only a new beginning can help.

Longer than anything that a turn may wait for: statements, calls and connections all end
sooner, answered or not.
"""


class Watchdog:
    """Beats at each turn of a loop, at those also that found a database or a service away.

    A loop that fails, and is begun again, has not turned.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None

    def begin(self) -> None:
        """The loop begins; if it had begun before, that still counts."""
        if self._since is None:
            self.beat()

    def beat(self) -> None:
        """A turn is over, and the next one begins."""
        self._since = self._clock()

    def rest(self) -> None:
        """There is nothing to do, for however long."""
        self._since = None

    @property
    def seconds(self) -> float:
        """How long the turn has lasted that goes on now; 0 at rest."""
        return 0.0 if self._since is None else self._clock() - self._since

    def is_quick(self) -> bool:
        """Whether its last turn was over in good time."""
        return self.seconds < SLOW_AFTER

    def is_alive(self) -> bool:
        """Whether it can be expected to turn again by itself."""
        return self.seconds < DEAD_AFTER
