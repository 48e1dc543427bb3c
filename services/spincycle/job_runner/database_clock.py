"""Estimate of the database's time, based on this process's monotonic clock."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

ESTIMATES = 8
"""Number of estimates that are kept; the one with the shortest round trip is used."""


@dataclass(frozen=True, slots=True)
class _Estimate:
    """Offset from the monotonic clock; its error is at most half of the round trip."""

    offset: int
    round_trip: int

    def contradicts(self, other: _Estimate) -> bool:
        return 2 * abs(self.offset - other.offset) > self.round_trip + other.round_trip


class DatabaseClock:
    """Estimates the database's time from acknowledged heartbeats; all values are nanoseconds.

    This makes times of different runners comparable with each other and with times that the
    database records, however wrong the machines' clocks are. Until the first estimate the
    machine's own clock is used.
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
        """Return the monotonic time; read it before sending a heartbeat."""
        return self._monotonic()

    def acknowledged(self, sent_at: int, stored_at: int, received_at: int | None = None) -> None:
        """Add an estimate from a heartbeat that was acknowledged.

        Args:
            sent_at: monotonic time before the heartbeat was sent.
            stored_at: the database's time when it stored the heartbeat, since 1970.
            received_at: monotonic time when the response was received; None means now.
        """
        now = self._monotonic() if received_at is None else received_at
        estimate = _Estimate(stored_at - (sent_at + now) // 2, now - sent_at)
        if any(estimate.contradicts(earlier) for earlier in self._estimates):
            # The database's clock was set, or a failover changed the server.
            self._estimates.clear()
        self._estimates.append(estimate)

    def for_chain(self) -> Callable[[], int]:
        """Return a clock for one chain, in nanoseconds since 1970.

        It never goes back, and its differences are durations: later estimates do not change it.
        """
        monotonic, offset = self._monotonic, self._offset()
        return lambda: monotonic() + offset

    def _offset(self) -> int:
        if not self._estimates:
            return self._wall() - self._monotonic()
        return min(self._estimates, key=lambda estimate: estimate.round_trip).offset
