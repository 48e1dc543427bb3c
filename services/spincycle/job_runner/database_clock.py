"""The time of the request managers' database, kept by this process's monotonic clock."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

ESTIMATES = 8
"""Number of last estimates of which the best one counts."""


@dataclass(frozen=True, slots=True)
class _Estimate:
    """What to add to the monotonic clock; wrong by half of the round trip at most."""

    offset: int
    round_trip: int

    def contradicts(self, other: _Estimate) -> bool:
        return 2 * abs(self.offset - other.offset) > self.round_trip + other.round_trip


class DatabaseClock:
    """Estimates the time of the database from answered heartbeats; all in nanoseconds.

    So times of several runners can be compared with each other and with those that the database
    notes, however wrong the clocks of their machines are. Until the first estimate the time is that
    of this machine.
    """

    def __init__(
        self,
        monotonic: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._estimates: deque[_Estimate] = deque(maxlen=ESTIMATES)

    def monotonic(self) -> int:
        """The monotonic time, to be noted before a heartbeat is sent."""
        return self._monotonic()

    def answered(self, sent_at: int, stored_at: int) -> None:
        """Note that a heartbeat was answered just now.

        Args:
            sent_at: monotonic time before it was sent.
            stored_at: time of the database when it stored the heartbeat, since 1970.
        """
        now = self._monotonic()
        estimate = _Estimate(stored_at - (sent_at + now) // 2, now - sent_at)
        if any(estimate.contradicts(earlier) for earlier in self._estimates):
            # The database's clock was set, or another server has taken over.
            self._estimates.clear()
        self._estimates.append(estimate)

    def for_chain(self) -> Callable[[], int]:
        """Return a clock for the times of one chain, in nanoseconds since 1970.

        It never goes back, and differences are durations: later estimates do not move it.
        """
        monotonic, offset = self._monotonic, self._offset()
        return lambda: monotonic() + offset

    def _offset(self) -> int:
        if not self._estimates:
            return self._wall() - self._monotonic()
        return min(self._estimates, key=lambda estimate: estimate.round_trip).offset
