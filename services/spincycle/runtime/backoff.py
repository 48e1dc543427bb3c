"""Delays between the attempts of a retry loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable


class Backoff:
    """Computes the delays of a retry loop: exponential growth with jitter.

    Jitter spreads the retries of processes that lost a connection at the same time. By default a
    delay is between half of the current interval and the whole of it, so that `maximum` bounds the
    time until the next attempt.

    Args:
        initial: seconds of the first interval; equal to `maximum` for a constant interval.
        maximum: seconds of the longest interval.
        factor: ratio of consecutive intervals, at least 1.
        jitter: random fraction of each interval, from 0 (none) to 1 (full jitter).
        draw: source of random numbers from 0 to 1, the latter excluded.
    """

    __slots__ = ("_draw", "_factor", "_initial", "_interval", "_jitter", "_maximum")

    def __init__(
        self,
        initial: float,
        maximum: float,
        *,
        factor: float = 2.0,
        jitter: float = 0.5,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._factor = factor
        self._jitter = jitter
        self._draw = draw
        self._interval = initial

    def next(self) -> float:
        """Return the next delay in seconds."""
        interval = self._interval
        self._interval = min(interval * self._factor, self._maximum)
        return interval * (1.0 - self._jitter * self._draw())

    async def wait(self, minimum: float = 0.0) -> None:
        """Sleep for `minimum` seconds, as of a Retry-After header, plus the next delay.

        The sum, so that callers that got the same header do not retry in step.
        """
        await asyncio.sleep(minimum + self.next())

    def reset(self) -> None:
        """Start from the first interval again, after a successful attempt."""
        self._interval = self._initial
