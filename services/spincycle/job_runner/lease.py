"""Lease of a runner on its chains."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Lease:
    """Lease that each acknowledged heartbeat renews for the silence timeout.

    While it holds, no request manager evicts this runner. After it expires, any of them may: the
    requests may then run elsewhere and may have progressed there. So the runner starts no job
    until a heartbeat is acknowledged again. Running jobs continue; if the runner was evicted,
    their results are discarded.

    The clock must advance while the process is frozen, as CLOCK_MONOTONIC does.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> float:
        """Return the lease's time in seconds; read it before sending a heartbeat."""
        return self._clock()

    def holds(self) -> bool:
        """Return whether no request manager can have evicted this runner yet."""
        return self._clock() < self._until

    def renew(self, sent_at: float, silence_timeout: float) -> None:
        """Extend the lease, and call the listeners if it had expired; on the event loop only."""
        if self.extend(sent_at, silence_timeout):
            self.announce()

    def extend(self, sent_at: float, silence_timeout: float) -> bool:
        """Extend the lease: the heartbeat sent at `sent_at` was acknowledged.

        Both arguments are seconds; `sent_at` is a value of `now`. Return whether the lease had
        expired; `announce` must follow then, on the event loop. One thread at a time may extend
        and revoke.
        """
        held = self.holds()
        self._until = max(self._until, sent_at + silence_timeout)
        return not held

    def announce(self) -> None:
        """Call the listeners: the lease holds again."""
        for listener in self._listeners:
            listener()

    def revoke(self) -> None:
        """End the lease: the runner was evicted."""
        self._until = float("-inf")

    def on_renewal(self, listener: Callable[[], None]) -> None:
        """Call `listener` each time the lease holds again after it had expired."""
        self._listeners.append(listener)
