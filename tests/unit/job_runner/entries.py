"""Entries of no chain, and an author who notes what it is told."""

from __future__ import annotations

from spincycle.errors import SpinCycleError
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State


class Author:
    """Notes what it is told, after raising what it is to raise."""

    def __init__(self) -> None:
        self.told: list[int | SpinCycleError] = []
        self.trouble: list[Exception] = []

    def committed(self, position: int) -> None:
        if self.trouble:
            raise self.trouble.pop()
        self.told.append(position)

    def refused(self, error: SpinCycleError) -> None:
        self.told.append(error)


def entry(number: int, request_id: str = "request", stdout: str = "") -> JournalEntry:
    return JournalEntry(
        request_id=request_id,
        job_id="job",
        try_=number,
        position=number,
        epoch=1,
        name="job",
        type="test",
        started_at=1,
        finished_at=2,
        state=State.COMPLETE,
        stdout=stdout,
        sequence_id="job",
        sequence_try=1,
    )
