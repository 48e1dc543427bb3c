"""Which outages of the database last, and whether it can be used."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from spincycle.database.outages import Outage, Scope

RESOURCE_QUIET = 2.0
"""Seconds without a failure after which an outage of a resource may be over."""

STATEMENT_QUIET = 30.0
"""Seconds without a failure after which an outage of single statements is over. Longer than a
statement may take: one that times out each time is one outage."""

STATEMENT_BLOCKS = 5.0
"""Seconds after its last failure in which a query that fails in a row counts."""

FAILURES_IN_A_ROW = 3
"""Failures of one query, with no success between, that make the database unavailable although
other queries may succeed."""


@dataclass(slots=True)
class _Lasting:
    """An outage that lasts.

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
        """Whether it has ended by `now`."""
        quiet = now - self.failed_at
        if self.outage.scope is Scope.STATEMENT:
            return quiet >= STATEMENT_QUIET
        if self.outage.scope is Scope.RESOURCE:
            return not self.failures and quiet >= RESOURCE_QUIET
        return not self.failures

    def blocks(self, now: float) -> bool:
        """Whether callers are better off elsewhere."""
        if self.outage.scope is not Scope.STATEMENT:
            return True
        in_a_row = max(self.failures.values(), default=0)
        return in_a_row >= FAILURES_IN_A_ROW and now - self.failed_at < STATEMENT_BLOCKS


class Availability:
    """Tracks outages of one database; logs once when each begins and once when it ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lasting: dict[str, _Lasting] = {}

    @property
    def disturbed(self) -> bool:
        """Whether any outage lasts, also one that only single statements meet."""
        return bool(self._lasting)

    @property
    def available(self) -> bool:
        """Whether no outage lasts that callers should avoid."""
        if not self._lasting:
            return True
        self.settle()
        now = self._clock()
        return not any(one.blocks(now) for one in self._lasting.values())

    def lasts(self, outage: Outage) -> bool:
        """Whether an outage lasts."""
        return outage.name in self._lasting

    def lacks_resources(self) -> bool:
        """Whether an outage lasts that a statement can succeed in nevertheless."""
        return any(one.outage.scope is Scope.RESOURCE for one in self._lasting.values())

    def failed(self, outage: Outage, query: str, error: Exception) -> None:
        """Record that a query failed."""
        lasting = self._lasting.get(outage.name)
        if lasting is None:
            lasting = self._lasting[outage.name] = _Lasting(outage)
            structlog.get_logger().warning(
                "database statement failed"
                if outage.scope is Scope.STATEMENT
                else "database unavailable",
                cause=outage.name,
                sqlstate=getattr(error, "sqlstate", None) or outage.sqlstate,
                query=query,
                error=repr(error),
            )
        lasting.failures[query] = lasting.failures.get(query, 0) + 1
        lasting.failed_at = self._clock()

    def succeeded(self, query: str) -> None:
        """Record that a query succeeded."""
        for lasting in self._lasting.values():
            lasting.succeed(query)
        self.settle()

    def probed(self, query: str) -> None:
        """Record that the probe `query` succeeded: it needs what the outages of resources lack."""
        for lasting in self._lasting.values():
            if lasting.outage.scope is Scope.RESOURCE:
                lasting.failures.clear()
        self.succeeded(query)

    def settle(self) -> None:
        """End the outages that are over."""
        now = self._clock()
        over = [one for one in self._lasting.values() if one.is_over(now)]
        for lasting in over:
            del self._lasting[lasting.outage.name]
            structlog.get_logger().info(
                "database statements succeed again"
                if lasting.outage.scope is Scope.STATEMENT
                else "database available again",
                cause=lasting.outage.name,
                sqlstate=lasting.outage.sqlstate,
            )
