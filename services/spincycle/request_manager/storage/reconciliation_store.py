"""Chains of runners according to the rows of requests, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from spincycle.database.database import Database
from spincycle.request_manager.storage.model import ChainHolder
from spincycle.request_manager.storage.row_values import holders_of


class ReconciliationStore:
    """Reads which runners hold which chains, and orphans requests where that is wrong.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def chains(self, runner_id: str) -> dict[str, int]:
        """Return the epochs of the requests that are RUNNING on a runner, by request id."""
        rows = await self._database.fetch("chains_of_runner", runner_id=runner_id)
        return {row["request_id"]: row["epoch"] for row in rows}

    async def holders(self, request_ids: Sequence[str]) -> dict[str, ChainHolder]:
        """Return the holders of the requests that exist, by request id."""
        return holders_of(
            await self._database.fetch("chain_holders", request_ids=list(request_ids))
        )

    async def orphan_missing(self, runner_id: str, missing: Mapping[str, int]) -> list[str]:
        """Orphan requests whose chains their runner does not hold; return their ids."""
        rows = await self._database.fetch(
            "orphan_missing",
            runner_id=runner_id,
            request_ids=list(missing),
            epochs=list(missing.values()),
        )
        return [row["request_id"] for row in rows]

    async def orphan_strays(
        self, runner_id: str, strays: Mapping[str, int], proven: Container[str]
    ) -> list[str]:
        """Orphan requests whose chains a runner holds though it should not; return their ids.

        `proven`: requests that were certainly assigned to the runner under that epoch.
        """
        rows = await self._database.fetch(
            "orphan_strays",
            runner_id=runner_id,
            request_ids=list(strays),
            epochs=list(strays.values()),
            proven=[request_id in proven for request_id in strays],
        )
        return [row["request_id"] for row in rows]
