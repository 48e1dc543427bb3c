"""Limits of what one caller may use: open requests, creations per minute, streams."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spincycle.access.config import LimitsConfig
from spincycle.errors import TooManyCreations, TooManyStreams

NO_LIMITS = LimitsConfig()
"""Configuration without limits."""

MAX_BUCKETS = 10_000
"""Callers whose rates are remembered; beyond that, those that are full again are dropped."""


class CallerLimits:
    """Counts the creations and the streams of each caller in this process.

    Attributes:
        open_requests: most requests of a user that have not ended; None means no limit. The
            database counts them.
    """

    def __init__(
        self, config: LimitsConfig = NO_LIMITS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.open_requests = config.open_requests or None
        self._per_minute = config.requests_per_minute
        self._max_streams = config.streams
        self._clock = clock
        self._spent: dict[str, tuple[float, float]] = {}
        self._streams: Counter[str] = Counter()

    def count_creation(self, name: str) -> None:
        """Count a request that a caller creates.

        Raises:
            TooManyCreations: it has created as many as it may in a minute.
        """
        if not self._per_minute:
            return
        now = self._clock()
        spent = self._spent_now(name, now)
        if spent + 1 > self._per_minute:
            raise TooManyCreations(name, self._per_minute)
        if len(self._spent) >= MAX_BUCKETS:
            self._spent = {
                other: value
                for other, value in self._spent.items()
                if self._spent_now(other, now) > 0
            }
        self._spent[name] = (spent + 1, now)

    @contextmanager
    def stream(self, name: str) -> Iterator[None]:
        """Count a stream of a caller while the context is open.

        Raises:
            TooManyStreams: it has as many open streams as it may.
        """
        if self._max_streams and self._streams[name] >= self._max_streams:
            raise TooManyStreams(name, self._max_streams)
        self._streams[name] += 1
        try:
            yield
        finally:
            self._streams[name] -= 1
            if not self._streams[name]:
                del self._streams[name]

    def _spent_now(self, name: str, now: float) -> float:
        """Return how much of its minute a caller has used; it gets that back evenly."""
        spent, at = self._spent.get(name, (0.0, now))
        return max(spent - (now - at) * self._per_minute / 60, 0.0)
