"""Backoff of requests that lose one runner after another because their jobs crash it."""

from __future__ import annotations

IMMEDIATE_LOSSES = 2
"""Losses in a row after which a request is still assigned again at once."""

MIN_BACKOFF = 10.0
MAX_BACKOFF = 300.0
"""Seconds to wait after further losses: doubled from the first to the last."""


def losses(epoch: int, last_epoch: int) -> int:
    """Return the number of runners that a request has lost since one of its tries ended.

    The epoch rises when the request is assigned to a runner, and when it is taken from it.
    `last_epoch` is that of its last journal entry, 0 if there is none.
    """
    return (epoch - last_epoch) // 2


def backoff_after(losses: int) -> float:
    """Return the seconds until the request may be assigned to its next runner."""
    if losses <= IMMEDIATE_LOSSES:
        return 0.0
    return min(MAX_BACKOFF, MIN_BACKOFF * 2.0 ** min(losses - IMMEDIATE_LOSSES - 1, 10))
