"""The use cases of the job log: append entries in batches, fence, get and list."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spincycle.batching.coalescer import Coalescer
from spincycle.errors import (
    DatabaseUnavailable,
    FenceTooHigh,
    InvalidEntry,
    JobNotFound,
    SpinCycleError,
)
from spincycle.job_log.intake import Intake
from spincycle.job_log.model import EntryPage, RefusedEntry, Row, Selection
from spincycle.job_log.store import JournalStore, UnfitRows
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.revision import FREE_EPOCHS
from spincycle.runtime.backoff import Backoff
from spincycle.runtime.watchdog import Watchdog

MAX_STATEMENT_ROWS = 2000
"""Maximum number of entries per statement."""

MAX_STATEMENT_SIZE = 16 * 1024 * 1024
"""Bytes after which no further entry is added to a statement."""

FIRST_RETRY = 0.1
LAST_RETRY = 1.0
"""Seconds between attempts to store during an outage: doubled from the first to the last."""


@dataclass(slots=True)
class Batch:
    """The rows of the valid entries of a batch, and its refused entries."""

    rows: list[Row] = field(default_factory=list)
    refused: list[RefusedEntry] = field(default_factory=list)


class Journal:
    """The use cases of the job log.

    Entries of all callers that arrive during a statement are stored by the next one. There is at
    most one statement at a time, so the entries of a caller are committed in order.

    Attributes:
        write: watchdog of a write, including all its retries.
        attempt: watchdog of a single attempt of a write.
    """

    def __init__(self, store: JournalStore, intake: Intake) -> None:
        self._store = store
        self._intake = intake
        self._appends: Coalescer[list[Row], list[RefusedEntry]] = Coalescer(self._append_batches)
        self.write = Watchdog()
        self.attempt = Watchdog()

    @property
    def coalescers(self) -> dict[str, Coalescer[Any, Any]]:
        """The coalescers, by kind of write."""
        return {"append": self._appends}

    def prepare(self, entries: Iterable[JournalEntry]) -> Batch:
        """Validate entries and convert them to rows; may be called on any thread."""
        batch = Batch()
        for entry in entries:
            try:
                batch.rows.append(self._intake.row(entry))
            except InvalidEntry as error:
                refused = RefusedEntry(entry.request_id, entry.job_id, entry.try_, error)
                batch.refused.append(refused)
        return batch

    def append(self, batch: Batch) -> asyncio.Future[list[RefusedEntry]]:
        """Store a batch; the future returns the refused entries after the commit.

        It stays pending while the database is unavailable.
        """
        stored = self._appends.enqueue(batch.rows)
        if not batch.refused:
            return stored
        return asyncio.ensure_future(_with(batch.refused, stored))

    async def fence(self, epochs: Mapping[str, int]) -> dict[str, int]:
        """Raise the fences of requests: entries with lower epochs are refused from now on.

        Returns the current epochs that are higher than those given.

        Raises:
            FenceTooHigh: no request manager can have assigned an epoch; nothing has changed.
            DatabaseUnavailable: all or none of the fences have changed; call again.
        """
        high = {id_: epoch for id_, epoch in epochs.items() if epoch > FREE_EPOCHS}
        stored = await self._store.fences(list(high)) if high else {}
        for request_id, epoch in high.items():
            current = stored.get(request_id, 0)
            # An epoch lower than the current one changes nothing.
            if epoch > max(current, FREE_EPOCHS - 1) + 1:
                raise FenceTooHigh(request_id, epoch, current, FREE_EPOCHS)
        await self._store.fence(epochs)
        fences = await self._store.fences(list(epochs))
        return {id_: epoch for id_, epoch in fences.items() if epoch > epochs[id_]}

    async def get(self, request_id: str, job_id: str, try_number: int) -> JournalEntry:
        """Return one try of a job, or its last try for try 0.

        Raises:
            JobNotFound: the job has no entry, or none with that try.
            DatabaseUnavailable: the database cannot be read.
        """
        entry = await self._store.get(request_id, job_id, try_number)
        if entry is None:
            raise JobNotFound(request_id, job_id)
        return entry

    async def list_by_job(self, which: Selection, after_job_id: str, after_try: int) -> EntryPage:
        """Return a page of entries by job and try, after the given job and try."""
        return await self._store.list_by_job(which, after_job_id, after_try)

    async def list_by_position(self, which: Selection, after: int) -> EntryPage:
        """Return a page of entries by position, after the given position."""
        return await self._store.list_by_position(which, after)

    async def read_next(self, which: Selection, after: int) -> tuple[EntryPage, int]:
        """Return a page of entries by position, and the position from which to continue.

        That position skips entries that the selection excludes, so that they are not read again.
        """
        last = await self._store.last_position(which.request_id)
        if last <= after:
            return EntryPage([], more=False), after
        page = await self._store.list_by_position(which, after, last)
        return page, page.entries[-1].position if page.more else last

    async def close(self, grace: float) -> None:
        """Store the pending entries within `grace` seconds."""
        await self._appends.close(grace)

    async def _append_batches(self, batches: list[list[Row]]) -> list[list[RefusedEntry]]:
        self.write.start()
        self.attempt.start()
        try:
            return await self._write_batches(batches)
        finally:
            self.write.idle()
            self.attempt.idle()

    async def _write_batches(self, batches: list[list[Row]]) -> list[list[RefusedEntry]]:
        rows = [row for batch in batches for row in batch]
        errors: dict[int, SpinCycleError] = {}
        for start, part in _statements(rows):
            for index, error in (await self._store_rows(part)).items():
                errors[start + index] = error
        if not errors:
            return [[] for _ in batches]
        refused = []
        start = 0
        for batch in batches:
            refused.append(
                [
                    RefusedEntry(row.request_id, row.job_id, row.try_, errors[index])
                    for index, row in enumerate(batch, start)
                    if index in errors
                ]
            )
            start += len(batch)
        return refused

    async def _store_rows(self, rows: Sequence[Row]) -> dict[int, SpinCycleError]:
        """Store rows, retrying during outages; return the errors of refused rows by index."""
        backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        while True:
            try:
                return await self._store.append(rows)
            except DatabaseUnavailable:
                self.attempt.tick()
                await backoff.wait()
            except UnfitRows as unfit:
                if len(rows) == 1:
                    return {0: InvalidEntry(rows[0].request_id, rows[0].job_id, str(unfit))}
                break
        # Store the halves separately, to isolate the invalid entry from the others.
        middle = len(rows) // 2
        errors = await self._store_rows(rows[:middle])
        rest = await self._store_rows(rows[middle:])
        return errors | {middle + index: error for index, error in rest.items()}


def _statements(rows: Sequence[Row]) -> Iterator[tuple[int, Sequence[Row]]]:
    """Split rows into parts that fit into one statement, each with the index of its first row."""
    start = size = 0
    for index, row in enumerate(rows):
        if index - start >= MAX_STATEMENT_ROWS or size >= MAX_STATEMENT_SIZE:
            yield start, rows[start:index]
            start, size = index, 0
        size += row.size
    if start < len(rows):
        yield start, rows[start:]


async def _with(
    refused: list[RefusedEntry], stored: asyncio.Future[list[RefusedEntry]]
) -> list[RefusedEntry]:
    return refused + await stored
