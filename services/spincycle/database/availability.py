"""Tracks current outages of the database, and whether callers can use it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from spincycle.database.outages import Outage, Scope

RESOURCE_QUIET = 2.0
"""Seconds without a failure after which an outage of a resource may be over."""

STATEMENT_QUIET = 30.0
"""Seconds without a failure after which an outage of single statements is over. Longer than the
statement timeout, so that a statement that times out every time is one outage."""

STATEMENT_BLOCKS = 5.0
"""Seconds after its last failure for which a repeatedly failing query makes the database
unavailable."""

FAILURES_IN_A_ROW = 3
"""Consecutive failures of one query that make the database unavailable although other queries
may succeed."""


@dataclass(slots=True)
class _CurrentOutage:
    """An outage that has not ended.

    Attributes:
        failures: number of failures of each query since its last success.
        failed_at: time of the last failure.
    """

    outage: Outage
    failures: dict[str, int] = field(default_factory=dict)
    failed_at: float = 0.0

    def succeed(self, query: str) -> None:
        """Record that a query succeeded."""
        if self.outage.scope is Scope.SERVER:
            self.failures.clear()
        else:
            self.failures.pop(query, None)

    def is_over(self, now: float) -> bool:
        """Return whether the outage has ended by `now`."""
        quiet = now - self.failed_at
        if self.outage.scope is Scope.STATEMENT:
            return quiet >= STATEMENT_QUIET
        if self.outage.scope is Scope.RESOURCE:
            return not self.failures and quiet >= RESOURCE_QUIET
        return not self.failures

    def blocks(self, now: float) -> bool:
        """Return whether callers should avoid the database."""
        if self.outage.scope is not Scope.STATEMENT:
            return True
        in_a_row = max(self.failures.values(), default=0)
        return in_a_row >= FAILURES_IN_A_ROW and now - self.failed_at < STATEMENT_BLOCKS


class Availability:
    """Tracks outages of one database; logs the start and the end of each."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._current: dict[str, _CurrentOutage] = {}

    @property
    def disturbed(self) -> bool:
        """Whether there is an outage, including one of single statements."""
        return bool(self._current)

    @property
    def available(self) -> bool:
        """Whether there is no outage for which callers should avoid the database."""
        if not self._current:
            return True
        self.settle()
        now = self._clock()
        return not any(current.blocks(now) for current in self._current.values())

    def lasts(self, outage: Outage) -> bool:
        """Return whether an outage has not ended."""
        return outage.name in self._current

    def lacks_resources(self) -> bool:
        """Return whether there is an outage of a resource."""
        return any(current.outage.scope is Scope.RESOURCE for current in self._current.values())

    def failed(self, outage: Outage, query: str, error: Exception) -> None:
        """Record that a query failed."""
        current = self._current.get(outage.name)
        if current is None:
            current = self._current[outage.name] = _CurrentOutage(outage)
            structlog.get_logger().warning(
                "database statement failed"
                if outage.scope is Scope.STATEMENT
                else "database unavailable",
                cause=outage.name,
                sqlstate=getattr(error, "sqlstate", None) or outage.sqlstate,
                query=query,
                error=repr(error),
            )
        current.failures[query] = current.failures.get(query, 0) + 1
        current.failed_at = self._clock()

    def succeeded(self, query: str) -> None:
        """Record that a query succeeded."""
        for current in self._current.values():
            current.succeed(query)
        self.settle()

    def probed(self, query: str) -> None:
        """Record that the probe `query` succeeded; it also ends failures for lack of resources."""
        for current in self._current.values():
            if current.outage.scope is Scope.RESOURCE:
                current.failures.clear()
        self.succeeded(query)

    def settle(self) -> None:
        """Remove the outages that are over, and log each."""
        now = self._clock()
        over = [current.outage for current in self._current.values() if current.is_over(now)]
        for outage in over:
            del self._current[outage.name]
            structlog.get_logger().info(
                "database statements succeed again"
                if outage.scope is Scope.STATEMENT
                else "database available again",
                cause=outage.name,
                sqlstate=outage.sqlstate,
            )
