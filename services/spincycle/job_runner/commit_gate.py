"""Gate that delays calls until the journal entries before them are committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator


class CommitGate:
    """Delays each call until the chain's journal is committed up to the call's position.

    Calls keep their order. No client learns of the end of a try that would be lost with the
    runner.
    """

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: deque[tuple[int, Callable[[], None]]] = deque()

    def __bool__(self) -> bool:
        """Return whether a call is pending."""
        return bool(self._calls)

    def call(self, position: int, committed: int, call: Callable[[], None]) -> None:
        """Call now if `position` is committed and nothing is pending; otherwise enqueue it."""
        if position <= committed and not self._calls:
            call()
        else:
            self._calls.append((position, call))

    def cancel(self, call: Callable[[], None]) -> None:
        """Remove a call that is still pending."""
        self._calls = deque(pending for pending in self._calls if pending[1] is not call)

    def take_committed(self, position: int) -> Iterator[Callable[[], None]]:
        """Remove and yield the calls that are due once `position` is committed."""
        while self._calls and self._calls[0][0] <= position:
            yield self._calls.popleft()[1]

    def clear(self) -> None:
        """Remove all pending calls."""
        self._calls.clear()
