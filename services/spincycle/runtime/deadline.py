"""How long the call that is being answered may still take, for whatever it asks of others.

A unary call hands its deadline on: to the calls that it makes, and to its statements. Streams
hand none on; what a stream asks of others is cancelled with it.
"""

from __future__ import annotations

import time
from contextvars import Context, ContextVar, copy_context

_ends_at: ContextVar[float | None] = ContextVar("spincycle_deadline", default=None)

_LEAST = 0.001
"""Seconds that are given where none are left: what is asked then fails of itself."""


def begin(seconds: float | None) -> None:
    """From here on, in this task and in those it starts, so many seconds are left."""
    _ends_at.set(None if seconds is None else time.monotonic() + seconds)


def ends_at() -> float | None:
    """When the call must have ended, by time.monotonic; None if nothing says so."""
    return _ends_at.get()


def end_at(moment: float | None) -> None:
    """Let the deadline be at a moment of time.monotonic, in this task and in those it starts."""
    _ends_at.set(moment)


def left(limit: float) -> float:
    """Seconds that something may take: `limit`, or less if the call has less left."""
    moment = _ends_at.get()
    if moment is None:
        return limit
    return min(limit, max(moment - time.monotonic(), _LEAST))


def is_over() -> bool:
    """Whether the call has no time left."""
    moment = _ends_at.get()
    return moment is not None and time.monotonic() >= moment


def outlasting() -> Context:
    """A context for a task that goes on for others when the call that started it has ended."""
    context = copy_context()
    context.run(_ends_at.set, None)
    return context
