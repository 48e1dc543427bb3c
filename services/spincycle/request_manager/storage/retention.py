"""Deletion of old requests and runners."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from spincycle.database.database import Database
from spincycle.model.state import State

FINAL_STATES = (State.COMPLETE, State.FAIL, State.STOPPED)


class RequestRetention:
    """Finds and deletes requests that ended, and runners that were deregistered, long ago.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ended_before(self, moment: datetime, batch: int) -> list[str]:
        """Return the ids of up to `batch` requests that ended before a moment."""
        for state in FINAL_STATES:
            rows = await self._database.fetch(
                "ended_before", state=int(state), moment=moment, batch=batch
            )
            if rows:
                return [row["request_id"] for row in rows]
        return []

    async def count_ended_before(self, moment: datetime) -> int:
        """Return the number of requests that ended before a moment."""
        row = await self._database.fetch_one("count_ended_before", moment=moment)
        return int(row["requests"]) if row else 0

    async def delete(self, request_ids: Sequence[str]) -> int:
        """Delete those of the requests that have ended; return their number."""
        row = await self._database.fetch_one("delete_requests", request_ids=list(request_ids))
        return int(row["requests"]) if row else 0

    async def delete_runners(self, moment: datetime) -> int:
        """Delete runners that were deregistered before a moment; return their number."""
        row = await self._database.fetch_one("delete_runners", moment=moment)
        return int(row["runners"]) if row else 0

    async def count_audit(self, moment: datetime) -> int:
        """Return the number of audit entries that were sealed before a moment."""
        row = await self._database.fetch_one("count_audit", moment=moment)
        return int(row["entries"]) if row else 0

    async def delete_audit(self, moment: datetime, batch: int) -> int | None:
        """Delete the oldest seals, up to `batch`, with their entries, and record that.

        Only what was sealed before the moment is deleted, and never the last seal. Return the
        number of deleted entries; None if there is nothing to delete.
        """
        async with self._database.transaction() as session:
            await session.execute("wait_for_seals")
            row = await session.fetch_one("delete_audit", moment=moment, batch=batch)
        return int(row["deleted"]) if row else None
