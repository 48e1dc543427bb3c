"""Wait before a retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.model.duration import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.model.job_chain import BackoffPolicy

LONGEST = 366 * 86400.0
"""Maximum wait in seconds, for backoff without a limit."""


def wait_before_retry(
    wait: str, backoff: BackoffPolicy | None, tries: int, draw: Callable[[], float]
) -> float:
    """Return the seconds between try number `tries` and the next one.

    `wait` is a duration as written in the spec; an invalid one counts as no wait, as in the
    original. `draw` returns random numbers in [0, 1).
    """
    try:
        seconds = max(0.0, parse_duration(wait)) if wait else 0.0
    except ValueError:
        return 0.0
    if not seconds or backoff is None:
        return min(seconds, LONGEST)
    limit = LONGEST if backoff.max_wait is None else min(backoff.max_wait, LONGEST)
    try:
        seconds = min(seconds * backoff.factor ** (tries - 1), limit)
    except OverflowError:
        seconds = limit
    return seconds * (1 - backoff.jitter * draw())
