"""Journal entries without a chain, and a commit listener that records its calls."""

from __future__ import annotations

from spincycle.errors import SpinCycleError
from spincycle.identity.append_grants import AppendGrant
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State


class RecordingListener:
    """Records its calls; raises the next of `failures` first, if any."""

    def __init__(self, append_grant: AppendGrant | None = None) -> None:
        self.append_grant = append_grant
        self.calls: list[int | SpinCycleError] = []
        self.failures: list[Exception] = []

    def committed(self, position: int) -> None:
        if self.failures:
            raise self.failures.pop()
        self.calls.append(position)

    def refused(self, error: SpinCycleError) -> None:
        self.calls.append(error)


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
