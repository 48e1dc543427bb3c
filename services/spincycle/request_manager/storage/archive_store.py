"""Archived chains and arguments of requests, and their saved states, in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import asyncpg

from spincycle.database.database import Database
from spincycle.errors import RequestUnreadable
from spincycle.model.job_chain import SuspendedPeriod
from spincycle.model.request_arg import RequestArg
from spincycle.request_manager.storage.portions import PORTION_BYTES
from spincycle.request_manager.storage.row_values import nanoseconds
from spincycle.request_manager.storage.secret_columns import SecretColumns
from spincycle.request_manager.storage.stored_args import NO_ARGS, StoredArgs

EncodePeriods = Callable[[Sequence[SuspendedPeriod]], bytes]
"""Returns periods as bytes that, put before a serialized saved state, become part of it."""

StoredChains = Mapping[str, bytes | RequestUnreadable]
"""Chains or saved states, serialized, by request id; the error of those whose key is missing."""


class ArchiveStore:
    """Reads what is archived and saved of requests.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(
        self, database: Database, encode_periods: EncodePeriods, columns: SecretColumns
    ) -> None:
        self._database = database
        self._encode_periods = encode_periods
        self._columns = columns

    async def args(self, request_id: str) -> list[RequestArg]:
        """Return the resolved arguments of a request."""
        return (await self.stored_args(request_id)).parse()

    async def stored_args(self, request_id: str) -> StoredArgs:
        """Return the resolved arguments of a request, not parsed yet."""
        row = await self._database.fetch_one("get_args", request_id=request_id)
        return StoredArgs(row["args"]) if row else NO_ARGS

    async def job_chain(self, request_id: str) -> bytes:
        """Return the archived chain of a request, serialized; empty if there is none.

        Raises:
            RequestUnreadable: it is sealed, and cannot be opened.
        """
        row = await self._database.fetch_one("get_job_chain", request_id=request_id)
        return await self._columns.open_chain(request_id, row["job_chain"]) if row else b""

    def chain_portions(self, request_ids: Sequence[str]) -> AsyncIterator[StoredChains]:
        """Yield archived chains in portions that fit in memory."""
        return self._portions("get_chain_portion", self._job_chain, request_ids)

    async def saved_state(self, request_id: str) -> bytes:
        """Return the saved state of a request, serialized; empty if there is none.

        Raises:
            RequestUnreadable: it is sealed, and cannot be opened.
        """
        async for states in self.suspended_job_chains([request_id]):
            state = states[request_id]
            if isinstance(state, RequestUnreadable):
                raise state
            return state
        return b""

    def suspended_job_chains(self, request_ids: Sequence[str]) -> AsyncIterator[StoredChains]:
        """Yield saved states in portions that fit in memory.

        Each has the periods for which callers had suspended its request. A request that never ran
        has no saved state.
        """
        return self._portions("get_suspended_portion", self._saved_state, request_ids)

    async def _job_chain(self, row: asyncpg.Record) -> bytes:
        return await self._columns.open_chain(
            row["request_id"], row["job_chain"], keep_damaged=True
        )

    async def _saved_state(self, row: asyncpg.Record) -> bytes:
        saved = await self._columns.open_state(
            row["request_id"], row["suspended_job_chain"], keep_damaged=True
        )
        if not row["suspended_periods"]:
            return saved
        periods = [
            SuspendedPeriod(nanoseconds(period.lower), nanoseconds(period.upper))
            for period in row["suspended_periods"]
        ]
        # Put before the state: after a damaged one they could pass for its missing bytes.
        return self._encode_periods(periods) + saved

    async def _portions(
        self,
        query: str,
        content: Callable[[asyncpg.Record], Awaitable[bytes]],
        request_ids: Sequence[str],
    ) -> AsyncIterator[StoredChains]:
        left = sorted(request_ids)
        while left:
            rows = await self._database.fetch(query, request_ids=left, most=PORTION_BYTES)
            if not rows:
                return
            portion: dict[str, bytes | RequestUnreadable] = {}
            for row in rows:
                try:
                    portion[row["request_id"]] = await content(row)
                except RequestUnreadable as error:
                    portion[row["request_id"]] = error
            yield portion
            last = rows[-1]["request_id"]
            left = [request_id for request_id in left if request_id > last]
