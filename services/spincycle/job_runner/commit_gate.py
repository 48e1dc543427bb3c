"""What must not be told before the journal is committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator


class CommitGate:
    """Calls in order, each once the journal of the chain is committed up to its position.

    So nobody is told of an end of a try that a dying runner takes with it.
    """

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: deque[tuple[int, Callable[[], None]]] = deque()

    def __bool__(self) -> bool:
        """Whether something waits."""
        return bool(self._calls)

    def call(self, position: int, committed: int, call: Callable[[], None]) -> None:
        """Call at once, or when all that is held and the position is committed."""
        if position <= committed and not self._calls:
            call()
        else:
            self._calls.append((position, call))

    def take_back(self, call: Callable[[], None]) -> None:
        """Do not call it, if it was not called yet."""
        self._calls = deque(held for held in self._calls if held[1] is not call)

    def take_committed(self, position: int) -> Iterator[Callable[[], None]]:
        """Take the calls that are due now that the journal is committed up to a position."""
        while self._calls and self._calls[0][0] <= position:
            yield self._calls.popleft()[1]

    def drop(self) -> None:
        """Call none of them any more."""
        self._calls.clear()
