"""Archived chains and arguments of requests, and their saved states, in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from spincycle.database.database import Database
from spincycle.model.request_arg import RequestArg
from spincycle.request_manager.storage.portions import PORTION_BYTES
from spincycle.request_manager.storage.stored_args import NO_ARGS, StoredArgs


class ArchiveStore:
    """Reads what is archived and saved of requests.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def args(self, request_id: str) -> list[RequestArg]:
        """Return the resolved arguments of a request."""
        return (await self.stored_args(request_id)).parse()

    async def stored_args(self, request_id: str) -> StoredArgs:
        """Return the resolved arguments of a request, not parsed yet."""
        row = await self._database.fetch_one("get_args", request_id=request_id)
        return StoredArgs(row["args"]) if row else NO_ARGS

    async def job_chains(self, request_ids: Sequence[str]) -> dict[str, bytes]:
        """Return archived chains, serialized, by request id."""
        rows = await self._database.fetch("get_job_chains", request_ids=list(request_ids))
        return {row["request_id"]: row["job_chain"] for row in rows}

    def chain_portions(self, request_ids: Sequence[str]) -> AsyncIterator[dict[str, bytes]]:
        """Yield archived chains, serialized, by request id, in portions that fit in memory."""
        return self._portions("get_chain_portion", "job_chain", request_ids)

    def suspended_job_chains(self, request_ids: Sequence[str]) -> AsyncIterator[dict[str, bytes]]:
        """Yield saved states, serialized, by request id, in portions that fit in memory.

        A request that never ran has no saved state.
        """
        return self._portions("get_suspended_portion", "suspended_job_chain", request_ids)

    async def _portions(
        self, query: str, column: str, request_ids: Sequence[str]
    ) -> AsyncIterator[dict[str, bytes]]:
        left = sorted(request_ids)
        while left:
            rows = await self._database.fetch(query, request_ids=left, most=PORTION_BYTES)
            if not rows:
                return
            yield {row["request_id"]: row[column] for row in rows}
            last = rows[-1]["request_id"]
            left = [request_id for request_id in left if request_id > last]
