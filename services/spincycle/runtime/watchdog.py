"""Detects loops that hang, for the health service."""

from __future__ import annotations

import time
from collections.abc import Callable

SLOW_AFTER = 5.0
"""Seconds in one iteration after which the process is not ready."""

DEAD_AFTER = 60.0
"""Seconds in one iteration after which the process must be restarted.

Longer than any wait within an iteration: statements, calls and connection attempts all time out
sooner.
"""


class Watchdog:
    """Measures how long the current iteration of a loop has lasted.

    An iteration that found the database or a service unavailable counts as completed. One that
    failed and whose loop was restarted does not.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None

    def start(self) -> None:
        """Record that the loop starts; after a restart, the earlier start time stays in effect."""
        if self._since is None:
            self.tick()

    def tick(self) -> None:
        """Record that an iteration has completed and the next one starts."""
        self._since = self._clock()

    def idle(self) -> None:
        """Record that the loop has nothing to do, for an unlimited time."""
        self._since = None

    @property
    def seconds(self) -> float:
        """Seconds since the current iteration started; 0 while idle."""
        return 0.0 if self._since is None else self._clock() - self._since

    def is_responsive(self) -> bool:
        """Return whether the current iteration has lasted less than `SLOW_AFTER`."""
        return self.seconds < SLOW_AFTER

    def is_alive(self) -> bool:
        """Return whether the current iteration has lasted less than `DEAD_AFTER`."""
        return self.seconds < DEAD_AFTER
