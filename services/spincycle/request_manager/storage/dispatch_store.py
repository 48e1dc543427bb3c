"""Requests that wait for a runner or are assigned to one, in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Sequence

from spincycle.database.database import Database
from spincycle.model.state import State
from spincycle.request_manager.storage.model import (
    Assignment,
    QueuedRequests,
    Requirements,
    Waiting,
)
from spincycle.request_manager.storage.request_counts import RequestCounts
from spincycle.request_manager.storage.row_values import (
    assignment_columns,
    assignment_of,
    interval,
    states_of,
)
from spincycle.rpc.limits import REASON_BYTES
from spincycle.text.shortening import shortened


class DispatchStore:
    """Assigns waiting requests to runners and stores whether these accept them.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database, counts: RequestCounts) -> None:
        self._database = database
        self._counts = counts

    async def waiting(self, unavailable: Sequence[str], batch: int) -> dict[str, Waiting]:
        """Return requests that a live runner can run, in the order in which they are assigned.

        The runners `unavailable`, by id, do not count.
        """
        rows = await self._database.fetch(
            "waiting_requests", unavailable=list(unavailable), batch=batch
        )
        return {
            row["request_id"]: Waiting(
                row["limited"],
                Requirements(frozenset(row["required_features"]), frozenset(row["job_types"])),
            )
            for row in rows
        }

    async def assign(self, runner_by_request: dict[str, str], lease: float) -> list[Assignment]:
        """Assign requests to runners under new epochs; the caller has `lease` seconds to send them.

        Requests that no longer wait, and requests whose type has a limit, are left out.
        """
        assigned_at, pairs = time.monotonic(), _pairs(runner_by_request)
        rows = await self._database.fetch("assign_requests", **pairs, lease=interval(lease))
        return [assignment_of(row, assigned_at) for row in rows]

    async def assign_limited(
        self, runner_by_request: dict[str, str], lease: float
    ) -> list[Assignment]:
        """Assign requests whose type has a limit, as far as the limit has room."""
        assigned_at, pairs = time.monotonic(), _pairs(runner_by_request)
        async with self._database.transaction() as session:
            await session.execute("lock_limits")
            rows = await session.fetch("assign_limited_requests", **pairs, lease=interval(lease))
        return [assignment_of(row, assigned_at) for row in rows]

    async def unassign(self, assigned: Sequence[Assignment]) -> dict[str, State]:
        """Unassign requests that their runners refused; return their new states by id."""
        rows = await self._database.fetch("unassign_requests", **assignment_columns(assigned))
        states = states_of(rows)
        self._counts.count_stopped(states.values())
        return states

    async def accept(self, assigned: Sequence[Assignment]) -> dict[str, State | None]:
        """Store that runners accepted requests; return the desired state of each by id."""
        rows = await self._database.fetch("accept_requests", **assignment_columns(assigned))
        return {
            row["request_id"]: State(row["desired_state"]) if row["desired_state"] else None
            for row in rows
        }

    async def fail(self, reasons: dict[Assignment, str]) -> set[str]:
        """Fail requests that no runner can run, each with its reason; return the failed ids."""
        short = [shortened(reason, REASON_BYTES) for reason in reasons.values()]
        rows = await self._database.fetch(
            "fail_requests", **assignment_columns(list(reasons)), reasons=short
        )
        self._counts.ended[State.FAIL] += len(rows)
        return {row["request_id"] for row in rows}

    async def hold_assignments(self, assigned: Sequence[Assignment], lease: float) -> None:
        """Extend the claims of the sender on assigned requests to `lease` seconds from now."""
        await self._database.execute(
            "hold_assignments", **assignment_columns(assigned), lease=interval(lease)
        )

    async def queue(self) -> QueuedRequests:
        """Return how many requests wait for a runner."""
        row = await self._database.fetch_one("queue")
        return QueuedRequests(**dict(row)) if row else QueuedRequests(0, 0, 0.0)


def _pairs(runner_by_request: dict[str, str]) -> dict[str, list[str]]:
    return {
        "request_ids": list(runner_by_request),
        "runner_ids": list(runner_by_request.values()),
    }
