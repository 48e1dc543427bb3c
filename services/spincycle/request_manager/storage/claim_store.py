"""Claims on assigned requests in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from spincycle.database.database import Database
from spincycle.request_manager.storage.model import Assignment, Claim
from spincycle.request_manager.storage.row_values import assignment_of, interval


class ClaimStore:
    """Reads and takes over claims on requests that runners have not accepted yet.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def unaccepted(self) -> list[Claim]:
        """Return the claims on requests that are assigned to a live runner and not accepted."""
        rows = await self._database.fetch("unaccepted_requests")
        return [Claim(row["request_id"], row["epoch"], row["claimed_until"]) for row in rows]

    async def take_over(self, claims: Sequence[Claim], lease: float) -> list[Assignment]:
        """Claim, for `lease` seconds, the requests that are still under these claims."""
        rows = await self._database.fetch(
            "claim_unaccepted",
            request_ids=[claim.request_id for claim in claims],
            epochs=[claim.epoch for claim in claims],
            untils=[claim.until for claim in claims],
            lease=interval(lease),
        )
        return [assignment_of(row) for row in rows]
