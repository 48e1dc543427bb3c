"""Requests of lost runners in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from spincycle.database.database import Database
from spincycle.request_manager.storage.model import Assignment, Orphan
from spincycle.request_manager.storage.row_values import (
    assignment_columns,
    interval,
    nanoseconds,
)


class RecoveryStore:
    """Claims requests of lost runners for recovery.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim_orphans(self, lease: float, batch: int) -> list[Orphan]:
        """Claim requests of runners that are lost, for `lease` seconds."""
        rows = await self._database.fetch("claim_orphans", lease=interval(lease), batch=batch)
        return [_orphan(row) for row in rows]

    async def claim_unanswered(self, assigned: Sequence[Assignment], lease: float) -> list[Orphan]:
        """Claim requests that their runners may or may not have accepted, for `lease` seconds."""
        rows = await self._database.fetch(
            "claim_unanswered", **assignment_columns(assigned), lease=interval(lease)
        )
        return [_orphan(row) for row in rows]

    async def outrun_fence(self, orphan: Orphan, epoch: int) -> None:
        """Raise the epoch of a claimed request, and release the claim."""
        await self._database.execute(
            "outrun_fence", request_id=orphan.request_id, epoch=orphan.epoch, to_epoch=epoch
        )

    async def hold_claims(self, orphans: Sequence[Orphan], lease: float) -> None:
        """Set the end of claims to `lease` seconds from now."""
        await self._database.execute(
            "hold_claims", **assignment_columns(orphans), lease=interval(lease)
        )


def _orphan(row: asyncpg.Record) -> Orphan:
    return Orphan(
        row["request_id"],
        row["epoch"],
        row["runner_id"] or "",
        row["losses_since"],
        nanoseconds(row["started_at"]),
    )
