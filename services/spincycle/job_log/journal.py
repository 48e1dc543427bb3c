"""What the job log does with entries: take them together, fence, answer, list."""

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
from spincycle.runtime.watchdog import Watchdog

MAX_STATEMENT_ROWS = 2000
"""Most entries that one statement stores."""

MAX_STATEMENT_SIZE = 16 * 1024 * 1024
"""Bytes after which a statement takes no further entry."""

RETRY_INTERVALS = (0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts to store while the database is away; the last one repeats."""


@dataclass(slots=True)
class Batch:
    """Entries as the database takes them, and those that it can never take."""

    rows: list[Row] = field(default_factory=list)
    refused: list[RefusedEntry] = field(default_factory=list)


class Journal:
    """The use cases of the job log.

    Entries of all callers that arrive while one statement is under way are stored by the next
    one. There is never more than one under way, so what a caller appends first is committed
    first.

    Attributes:
        write: beats while entries are being stored, from their first attempt on.
        attempt: beats at each attempt of that.
    """

    def __init__(self, store: JournalStore, intake: Intake) -> None:
        self._store = store
        self._intake = intake
        self._appends: Coalescer[list[Row], list[RefusedEntry]] = Coalescer(self._append_batches)
        self.write = Watchdog()
        self.attempt = Watchdog()

    @property
    def coalescers(self) -> dict[str, Coalescer[Any, Any]]:
        """What is written together, by kind."""
        return {"append": self._appends}

    def prepare(self, entries: Iterable[JournalEntry]) -> Batch:
        """Check a batch and make its rows; may be called on any thread."""
        batch = Batch()
        for entry in entries:
            try:
                batch.rows.append(self._intake.row(entry))
            except InvalidEntry as error:
                refused = RefusedEntry(entry.request_id, entry.job_id, entry.try_, error)
                batch.refused.append(refused)
        return batch

    def append(self, batch: Batch) -> asyncio.Future[list[RefusedEntry]]:
        """Store a batch; the future ends after its commit, with what was refused.

        While the database is away it does not end.
        """
        stored = self._appends.enqueue(batch.rows)
        if not batch.refused:
            return stored
        return asyncio.ensure_future(_with(batch.refused, stored))

    async def fence(self, epochs: Mapping[str, int]) -> dict[str, int]:
        """Refuse, from the return on, entries of requests with lower epochs than those given.

        Returns the epochs in force that are higher than those given.

        Raises:
            FenceTooHigh: an epoch is out of reach of any request manager; nothing has changed.
            DatabaseUnavailable: nothing has changed, or all has; call again.
        """
        high = {id_: epoch for id_, epoch in epochs.items() if epoch > FREE_EPOCHS}
        stored = await self._store.fences(list(high)) if high else {}
        for request_id, epoch in high.items():
            current = stored.get(request_id, 0)
            # One that is lower than the one in force changes nothing.
            if epoch > max(current, FREE_EPOCHS - 1) + 1:
                raise FenceTooHigh(request_id, epoch, current, FREE_EPOCHS)
        await self._store.fence(epochs)
        in_force = await self._store.fences(list(epochs))
        return {id_: epoch for id_, epoch in in_force.items() if epoch > epochs[id_]}

    async def get(self, request_id: str, job_id: str, try_number: int) -> JournalEntry:
        """One try of a job, or its last one for try 0.

        Raises:
            JobNotFound: the job has no entry, or none with that try.
            DatabaseUnavailable: nobody knows now.
        """
        entry = await self._store.get(request_id, job_id, try_number)
        if entry is None:
            raise JobNotFound(request_id, job_id)
        return entry

    async def list_by_job(self, which: Selection, after_job_id: str, after_try: int) -> EntryPage:
        """A page of entries by job and try, from after those given."""
        return await self._store.list_by_job(which, after_job_id, after_try)

    async def list_by_position(self, which: Selection, after: int) -> EntryPage:
        """A page of entries by position, from after the one given."""
        return await self._store.list_by_position(which, after)

    async def read_on(self, which: Selection, after: int) -> tuple[EntryPage, int]:
        """A page by position, and the position to go on from.

        That is beyond what the selection leaves out, so that it is not read again and again.
        """
        last = await self._store.last_position(which.request_id)
        if last <= after:
            return EntryPage([], more=False), after
        page = await self._store.list_by_position(which, after, last)
        return page, page.entries[-1].position if page.more else last

    async def close(self, grace: float) -> None:
        """Store what was taken, within `grace` seconds."""
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
            for place, error in (await self._store_rows(part)).items():
                errors[start + place] = error
        if not errors:
            return [[] for _ in batches]
        answers = []
        start = 0
        for batch in batches:
            answers.append(
                [
                    RefusedEntry(row.request_id, row.job_id, row.try_, errors[place])
                    for place, row in enumerate(batch, start)
                    if place in errors
                ]
            )
            start += len(batch)
        return answers

    async def _store_rows(self, rows: Sequence[Row]) -> dict[int, SpinCycleError]:
        """Store rows, however long that takes; answer, by place, why others are refused."""
        attempts = 0
        while True:
            try:
                return await self._store.append(rows)
            except DatabaseUnavailable:
                self.attempt.tick()
                await asyncio.sleep(RETRY_INTERVALS[min(attempts, len(RETRY_INTERVALS) - 1)])
                attempts += 1
            except UnfitRows as unfit:
                if len(rows) == 1:
                    return {0: InvalidEntry(rows[0].request_id, rows[0].job_id, str(unfit))}
                break
        # One entry must not keep those of others out: find it by halves.
        middle = len(rows) // 2
        errors = await self._store_rows(rows[:middle])
        rest = await self._store_rows(rows[middle:])
        return errors | {middle + place: error for place, error in rest.items()}


def _statements(rows: Sequence[Row]) -> Iterator[tuple[int, Sequence[Row]]]:
    """Rows in parts that fit a statement, each with the place of its first."""
    start = size = 0
    for place, row in enumerate(rows):
        if place - start >= MAX_STATEMENT_ROWS or size >= MAX_STATEMENT_SIZE:
            yield start, rows[start:place]
            start, size = place, 0
        size += row.size
    if start < len(rows):
        yield start, rows[start:]


async def _with(
    refused: list[RefusedEntry], stored: asyncio.Future[list[RefusedEntry]]
) -> list[RefusedEntry]:
    return refused + await stored
