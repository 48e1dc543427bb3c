"""Counts of the requests that this process stored and ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from spincycle.model.state import State


class RequestCounts:
    """Counts requests since the process started; all stores of a process share one.

    Attributes:
        created: requests stored.
        ended: requests ended, by final state.
    """

    def __init__(self) -> None:
        self.created = 0
        self.ended: Counter[State] = Counter()

    def count_stopped(self, states: Iterable[State]) -> None:
        """Count those of the new states that are STOPPED."""
        self.ended.update(state for state in states if state is State.STOPPED)
