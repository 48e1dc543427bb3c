"""The journal in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg
import orjson
import structlog

from spincycle.database.database import Database
from spincycle.errors import (
    DatabaseUnavailable,
    EntryConflict,
    InvalidEntry,
    SpinCycleError,
    StaleEpoch,
)
from spincycle.job_log.model import EntryPage, Row, Selection
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State
from spincycle.runtime.off_loop import LARGE_BYTES, off_loop

MAX_PAGE_SIZE = 2 * 1024 * 1024
"""Bytes that a page holds at most, unless its first entry alone is larger."""

_UNFIT = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
_AFTER_ALL_IDS = "\U0010ffff"


class UnfitRows(Exception):
    """Some of the rows cannot be stored, and the database does not say which."""


class JournalStore:
    """What the use cases ask of the schema job_log.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._troubled = False

    async def append(self, rows: Sequence[Row]) -> dict[int, SpinCycleError]:
        """Commit rows that are new; answer, by place, why others do not stand in the journal.

        A row that stands there already as it was given is not in the answer.

        Raises:
            UnfitRows: nothing was stored.
        """
        try:
            answer = await self._database.fetch_one("append", entries=rows)
            self._troubled = False
            if answer is not None and answer["stored"] == len(rows):
                return {}
            differing = await self._database.fetch("examine", entries=rows)
        except _UNFIT as error:
            raise UnfitRows(str(error))
        except asyncpg.PostgresError as error:
            # Whatever it is (another schema, missing rights), the entries are kept.
            if not self._troubled:
                structlog.get_logger().warning("cannot append for now", cause=repr(error))
            self._troubled = True
            raise DatabaseUnavailable
        return {row["ordinal"] - 1: _refusal(rows[row["ordinal"] - 1], row) for row in differing}

    async def fence(self, epochs: Mapping[str, int]) -> None:
        """Refuse, from now on, entries of requests with lower epochs than those given."""
        await self._database.execute(
            "fence", request_ids=list(epochs), epochs=list(epochs.values())
        )

    async def fences(self, request_ids: Sequence[str]) -> dict[str, int]:
        """Epochs in force of those requests that are fenced."""
        rows = await self._database.fetch("get_fences", request_ids=list(request_ids))
        return {row["request_id"]: row["epoch"] for row in rows}

    async def get(self, request_id: str, job_id: str, try_number: int) -> JournalEntry | None:
        """One try of a job, or its last one for try 0."""
        row = await self._database.fetch_one(
            "get_entry", request_id=request_id, job_id=job_id, **{"try": try_number}
        )
        if row is None:
            return None
        return await off_loop(len(row["data"] or "") >= LARGE_BYTES, lambda: _entry(row))

    async def list_by_job(self, which: Selection, after_job_id: str, after_try: int) -> EntryPage:
        """Entries by job and try, after a job and try."""
        after = (after_job_id, after_try)
        if which.job_id:
            after = max(after, (which.job_id, -1))
        rows = await self._database.fetch(
            "list_by_job",
            request_id=which.request_id,
            after_job_id=after[0],
            after_try=after[1],
            last_job_id=which.job_id or _AFTER_ALL_IDS,
            failed_only=which.failed_only,
            with_output=which.with_output,
            with_data=which.with_data,
            limit=which.limit + 1,
            max_size=MAX_PAGE_SIZE,
        )
        return await _page(rows, which.limit)

    async def list_by_position(
        self, which: Selection, after: int, last: int = 2**63 - 1
    ) -> EntryPage:
        """Entries by position, after one and up to another."""
        rows = await self._database.fetch(
            "list_by_position",
            request_id=which.request_id,
            after_position=after,
            last_position=last,
            job_id=which.job_id,
            failed_only=which.failed_only,
            ended_after=which.ended_after,
            with_output=which.with_output,
            with_data=which.with_data,
            limit=which.limit + 1,
            max_size=MAX_PAGE_SIZE,
        )
        return await _page(rows, which.limit)

    async def last_position(self, request_id: str) -> int:
        """Position of the last entry of a request; 0 if it has none."""
        row = await self._database.fetch_one("last_position", request_id=request_id)
        return (row["position"] or 0) if row else 0


def _refusal(row: Row, found: asyncpg.Record) -> SpinCycleError:
    current = found["current_epoch"]
    if current is not None and row.epoch < current:
        return StaleEpoch(row.request_id, row.epoch, current)
    if found["known"]:
        return EntryConflict(row.request_id, row.job_id, row.try_)
    if found["holder_job_id"] is not None:
        return InvalidEntry(
            row.request_id,
            row.job_id,
            f"position {row.position} of request {row.request_id} is that of try "
            f"{found['holder_try']} of job {found['holder_job_id']} already",
        )
    # Whatever stood in its way when it was appended is gone.
    raise DatabaseUnavailable


async def _page(rows: Sequence[asyncpg.Record], limit: int) -> EntryPage:
    size = sum(len(row["data"] or "") for row in rows)
    entries = await off_loop(size >= LARGE_BYTES, lambda: [_entry(row) for row in rows[:limit]])
    return EntryPage(entries, more=bool(rows) and len(entries) < rows[0]["found"])


def _entry(row: asyncpg.Record) -> JournalEntry:
    return JournalEntry(
        request_id=row["request_id"],
        job_id=row["job_id"],
        try_=row["try"],
        name=row["name"],
        type=row["type"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        state=State(row["state"]),
        exit=row["exit"],
        error=row["error"],
        stdout=row["stdout"],
        stderr=row["stderr"],
        sequence_id=row["sequence_id"],
        sequence_try=row["sequence_try"],
        position=row["position"],
        epoch=row["epoch"],
        data=None if row["data"] is None else orjson.loads(row["data"]),
        final=row["final"],
    )
