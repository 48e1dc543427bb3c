"""How long to wait before something is tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.model.duration import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.model.job_chain import BackoffPolicy

LONGEST = 366 * 86400.0
"""Seconds; a wait that grows without a limit of its own ends here."""


def wait_before_retry(
    wait: str, backoff: BackoffPolicy | None, tries: int, draw: Callable[[], float]
) -> float:
    """Seconds between try number `tries` and the next one.

    `wait` is a duration as written in the spec; one that is none counts as no wait, as in
    the original. `draw` gives random numbers from 0 up to, but not including, 1.
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
