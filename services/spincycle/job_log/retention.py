"""Deletes the journals of pruned requests."""

from __future__ import annotations

from collections.abc import Sequence

from spincycle.database.database import Database


class JournalRetention:
    """Deletes journals.

    Every method raises DatabaseUnavailable during an outage of the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget(self, request_ids: Sequence[str]) -> int:
        """Delete the journals of requests; return the number of deleted entries."""
        row = await self._database.fetch_one("delete_journals", request_ids=list(request_ids))
        return int(row["entries"]) if row else 0
