"""Forgetting the journals of requests that nobody will ask for again."""

from __future__ import annotations

from collections.abc import Sequence

from spincycle.database.database import Database


class JournalRetention:
    """What is kept of journals.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget(self, request_ids: Sequence[str]) -> int:
        """Delete the journals of requests; answer how many entries those had."""
        row = await self._database.fetch_one("forget_journals", request_ids=list(request_ids))
        return int(row["entries"]) if row else 0
