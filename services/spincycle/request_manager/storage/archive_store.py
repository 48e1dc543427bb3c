"""Archived chains and arguments of requests, and their saved states, in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import asyncpg

from spincycle.database.database import Database
from spincycle.model.job_chain import SuspendedPeriod
from spincycle.model.request_arg import RequestArg
from spincycle.request_manager.storage.portions import PORTION_BYTES
from spincycle.request_manager.storage.row_values import nanoseconds
from spincycle.request_manager.storage.stored_args import NO_ARGS, StoredArgs

EncodePeriods = Callable[[Sequence[SuspendedPeriod]], bytes]
"""Returns periods as bytes that, put before a serialized saved state, become part of it."""


class ArchiveStore:
    """Reads what is archived and saved of requests.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database, encode_periods: EncodePeriods) -> None:
        self._database = database
        self._encode_periods = encode_periods

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
        return self._portions("get_chain_portion", _job_chain, request_ids)

    def suspended_job_chains(self, request_ids: Sequence[str]) -> AsyncIterator[dict[str, bytes]]:
        """Yield saved states, serialized, by request id, in portions that fit in memory.

        Each has the periods for which callers had suspended its request. A request that never ran
        has no saved state.
        """
        return self._portions("get_suspended_portion", self._saved_state, request_ids)

    def _saved_state(self, row: asyncpg.Record) -> bytes:
        saved: bytes = row["suspended_job_chain"]
        if not row["suspended_periods"]:
            return saved
        periods = [
            SuspendedPeriod(nanoseconds(period.lower), nanoseconds(period.upper))
            for period in row["suspended_periods"]
        ]
        # Put before the state: after a damaged one they could pass for its missing bytes.
        return self._encode_periods(periods) + saved

    async def _portions(
        self, query: str, content: Callable[[asyncpg.Record], bytes], request_ids: Sequence[str]
    ) -> AsyncIterator[dict[str, bytes]]:
        left = sorted(request_ids)
        while left:
            rows = await self._database.fetch(query, request_ids=left, most=PORTION_BYTES)
            if not rows:
                return
            yield {row["request_id"]: content(row) for row in rows}
            last = rows[-1]["request_id"]
            left = [request_id for request_id in left if request_id > last]


def _job_chain(row: asyncpg.Record) -> bytes:
    chain: bytes = row["job_chain"]
    return chain
