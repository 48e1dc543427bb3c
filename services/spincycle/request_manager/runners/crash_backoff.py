"""Requests that lose one runner after the other, as those do whose jobs take it with them."""

from __future__ import annotations

AT_ONCE = 2
"""Losses in a row after which a request still goes on at once."""

FIRST_WAIT = 10.0
LONGEST_WAIT = 300.0
"""Seconds that it waits after the next loss: doubled from the first to the last."""


def losses(epoch: int, last_epoch: int) -> int:
    """How many runners a request has lost since a try of it ended.

    Its epoch rises when it is given to a runner, and when it is taken from it. `last_epoch` is
    that of its last journal entry, 0 if there is none.
    """
    return (epoch - last_epoch) // 2


def wait_after(lost: int) -> float:
    """Seconds until the next runner may have a request."""
    if lost <= AT_ONCE:
        return 0.0
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(lost - AT_ONCE - 1, 10))
