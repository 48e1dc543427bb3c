"""Requests in PostgreSQL that runners were given and have not accepted."""

from __future__ import annotations

from collections.abc import Sequence

from spincycle.database.database import Database
from spincycle.request_manager.storage.model import Assignment, Claim
from spincycle.request_manager.storage.row_values import assignment_of, interval


class ClaimStore:
    """Claims of the request managers that send requests to runners.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def unaccepted(self) -> list[Claim]:
        """Claims on requests that a live runner was given and has not accepted."""
        rows = await self._database.fetch("unaccepted_requests")
        return [Claim(row["request_id"], row["epoch"], row["claimed_until"]) for row in rows]

    async def take_over(self, claims: Sequence[Claim], lease: float) -> list[Assignment]:
        """Claim requests for `lease` seconds whose claims are still these."""
        rows = await self._database.fetch(
            "claim_unaccepted",
            request_ids=[claim.request_id for claim in claims],
            epochs=[claim.epoch for claim in claims],
            untils=[claim.until for claim in claims],
            lease=interval(lease),
        )
        return [assignment_of(row) for row in rows]
