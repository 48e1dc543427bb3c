"""The deadline of the call in progress, for the calls and statements that it makes.

A unary call propagates its deadline to the calls and the statements that it makes. A stream has no
deadline to propagate; its calls and statements are cancelled with it.
"""

from __future__ import annotations

import time
from contextvars import Context, ContextVar, copy_context

_ends_at: ContextVar[float | None] = ContextVar("spincycle_deadline", default=None)

_MIN_TIMEOUT = 0.001
"""Seconds that `remaining` returns after the deadline, so that the operation times out."""


def start(seconds: float | None) -> None:
    """Set the deadline `seconds` from now, for this task and the tasks that it starts."""
    _ends_at.set(None if seconds is None else time.monotonic() + seconds)


def ends_at() -> float | None:
    """Return the deadline, as a time of time.monotonic; None if there is none."""
    return _ends_at.get()


def set_end(moment: float | None) -> None:
    """Set the deadline to a time of time.monotonic, for this task and the tasks that it starts."""
    _ends_at.set(moment)


def remaining(limit: float) -> float:
    """Return the smaller of `limit` and the seconds until the deadline."""
    moment = _ends_at.get()
    if moment is None:
        return limit
    return min(limit, max(moment - time.monotonic(), _MIN_TIMEOUT))


def has_passed() -> bool:
    """Return whether the deadline has passed."""
    moment = _ends_at.get()
    return moment is not None and time.monotonic() >= moment


def without_deadline() -> Context:
    """Return a copy of the context without a deadline, for a task that may outlive the call."""
    context = copy_context()
    context.run(_ends_at.set, None)
    return context
