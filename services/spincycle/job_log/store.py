"""Stores the journal in PostgreSQL."""

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
"""Maximum bytes of a page, unless its first entry alone is larger."""

_UNFIT = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
_AFTER_ALL_IDS = "\U0010ffff"


class UnfitRows(Exception):
    """Some of the rows cannot be stored; the database does not report which ones."""


class JournalStore:
    """Runs the queries of the schema job_log.

    Every method raises DatabaseUnavailable during an outage of the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._append_failing = False

    async def append(self, rows: Sequence[Row]) -> dict[int, SpinCycleError]:
        """Commit the new rows; return the errors of refused rows by index.

        A row that is already stored with the same values is not an error.

        Raises:
            UnfitRows: a row is invalid; nothing was stored.
        """
        try:
            result = await self._database.fetch_one("append", entries=rows)
            self._append_failing = False
            if result is not None and result["stored"] == len(rows):
                return {}
            differing = await self._database.fetch("find_differing", entries=rows)
        except _UNFIT as error:
            raise UnfitRows(str(error))
        except asyncpg.PostgresError as error:
            # Such as a different schema or missing privileges: keep the entries and retry.
            if not self._append_failing:
                structlog.get_logger().warning("append failed; retrying", cause=repr(error))
            self._append_failing = True
            raise DatabaseUnavailable
        return {row["ordinal"] - 1: _refusal(rows[row["ordinal"] - 1], row) for row in differing}

    async def fence(self, epochs: Mapping[str, int]) -> None:
        """Raise the fences of requests to the given epochs."""
        await self._database.execute(
            "fence", request_ids=list(epochs), epochs=list(epochs.values())
        )

    async def fences(self, request_ids: Sequence[str]) -> dict[str, int]:
        """Return the current epochs of those requests that have a fence."""
        rows = await self._database.fetch("get_fences", request_ids=list(request_ids))
        return {row["request_id"]: row["epoch"] for row in rows}

    async def get(self, request_id: str, job_id: str, try_number: int) -> JournalEntry | None:
        """Return one try of a job, or its last try for try 0; None if there is none."""
        row = await self._database.fetch_one(
            "get_entry", request_id=request_id, job_id=job_id, **{"try": try_number}
        )
        if row is None:
            return None
        return await off_loop(len(row["data"] or "") >= LARGE_BYTES, lambda: _entry(row))

    async def list_by_job(self, which: Selection, after_job_id: str, after_try: int) -> EntryPage:
        """Return a page of entries by job and try, after the given job and try."""
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
        """Return a page of entries by position, after `after` and up to `last`."""
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
        """Return the position of the last entry of a request; 0 if it has none."""
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
            f"position {row.position} of request {row.request_id} already belongs to try "
            f"{found['holder_try']} of job {found['holder_job_id']}",
        )
    # The conflicting entry or fence has been deleted since; retry the append.
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
        path=row["path"],
    )
