"""Records refused calls and denied operations in the audit log, without delaying the calls."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from spincycle.errors import DatabaseUnavailable
from spincycle.request_manager.storage.audit_store import AuditStore, Refusal

MAX_BATCH = 500
"""Most rows in a statement."""

CLOSE_TIMEOUT = 2.0
"""Seconds for storing the last rows at shutdown."""


@dataclass(frozen=True, slots=True)
class AuditPolicy:
    """Bounds of what callers can make a request manager store.

    Attributes:
        period: seconds within which equal refusals are counted and not stored again.
        kinds: most different refusals of a caller that are stored in a period; further ones are
            counted.
        all_kinds: most different refusals of all callers.
        pending: most rows that wait for the database.
        retry: seconds until rows are stored again after the database was away.
    """

    period: float = 60.0
    kinds: int = 60
    all_kinds: int = 600
    pending: int = 1000
    retry: float = 1.0


@dataclass(slots=True)
class _Seen:
    """A refusal of this period, and how often it was repeated."""

    refusal: Refusal
    repeats: int = 0


class RefusalAudit:
    """Stores each refusal in the background; repeated ones as one further row with their number.

    Refusals are equal if their `kind` is. One caller does not use up what is stored of others.

    Attributes:
        left_out: number of refusals that were neither stored nor counted in a row.
    """

    def __init__(
        self,
        store: AuditStore,
        policy: AuditPolicy = AuditPolicy(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._seen: dict[tuple[str, ...], _Seen] = {}
        self._kinds: Counter[str] = Counter()
        self._pending: deque[Refusal] = deque()
        self._period_ends = float("-inf")
        self._reported = 0
        self._wakeup = asyncio.Event()
        self.left_out = 0

    def record(self, refusal: Refusal) -> bool:
        """Record a refusal; return whether it is the first of its kind in this period."""
        self._end_period()
        seen = self._seen.get(refusal.kind)
        if seen is not None:
            seen.repeats += 1
            return False
        if (
            self._kinds[refusal.caller] >= self._policy.kinds
            or len(self._seen) >= self._policy.all_kinds
        ):
            self.left_out += 1
            return False
        if not self._seen:
            self._period_ends = self._clock() + self._policy.period
        self._seen[refusal.kind] = _Seen(refusal)
        self._kinds[refusal.caller] += 1
        self._put(refusal)
        return True

    async def run(self) -> None:
        """Store what is recorded, until cancelled."""
        while True:
            with suppress(TimeoutError):
                remaining = max(self._period_ends - self._clock(), 0.0) if self._seen else None
                async with asyncio.timeout(remaining):
                    await self._wakeup.wait()
            self._wakeup.clear()
            self._end_period()
            if not await self._write():
                await asyncio.sleep(self._policy.retry)
                self._wakeup.set()

    async def close(self) -> None:
        """Store what is left, as far as the database is there."""
        self._end_period(at_once=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._write()
        if self._pending:
            structlog.get_logger().error("refusals not audited", refusals=len(self._pending))

    def _put(self, refusal: Refusal) -> None:
        if len(self._pending) >= self._policy.pending:
            self.left_out += 1
            return
        self._pending.append(refusal)
        self._wakeup.set()

    def _end_period(self, *, at_once: bool = False) -> None:
        """After the period, put the repeats into rows and report what was left out."""
        if not at_once and self._clock() < self._period_ends:
            return
        seen, self._seen = self._seen, {}
        self._kinds.clear()
        log = structlog.get_logger()
        for one in seen.values():
            if one.repeats:
                times = f"{one.repeats} more within {self._policy.period:g} s, the first one: "
                self._put(replace(one.refusal, problem=times + one.refusal.problem))
                log.warning(
                    "calls refused repeatedly",
                    method=one.refusal.method,
                    operation=one.refusal.operation,
                    caller=one.refusal.caller,
                    reason=one.refusal.reason,
                    request_id=one.refusal.request_id,
                    repeats=one.repeats,
                )
        if self.left_out > self._reported:
            log.error("refusals not audited", refusals=self.left_out - self._reported)
            self._reported = self.left_out

    async def _write(self) -> bool:
        """Store the pending rows; return False if the database is away."""
        while self._pending:
            batch = [self._pending.popleft() for _ in range(min(len(self._pending), MAX_BATCH))]
            try:
                await self._store.add_refusals(batch)
            except (DatabaseUnavailable, asyncio.CancelledError) as error:
                self._pending.extendleft(reversed(batch))
                if isinstance(error, asyncio.CancelledError):
                    raise
                return False
        return True
