"""Values that the modules of the job log share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from spincycle.errors import SpinCycleError
from spincycle.model.journal_entry import JournalEntry


class Row(NamedTuple):
    """An entry in the layout of the database type job_log.appended_entry.

    Position 0 means that the journal assigns the next position.
    """

    request_id: str
    job_id: str
    try_: int
    position: int
    epoch: int
    started_at: int
    finished_at: int
    exit: int
    sequence_try: int
    state: int
    final: bool
    name: str
    type: str
    sequence_id: str
    error: str
    stdout: str
    stderr: str
    data: str | None
    path: str

    @property
    def size(self) -> int:
        """Approximate size in bytes."""
        return 300 + len(self.error) + len(self.stdout) + len(self.stderr) + len(self.data or "")


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """An entry that the journal refused, and the error."""

    request_id: str
    job_id: str
    try_: int
    error: SpinCycleError


@dataclass(frozen=True, slots=True)
class Selection:
    """Filter and page size for the entries of a request.

    Attributes:
        job_id: only entries of this job; empty means of all jobs.
        failed_only: only entries that ended in FAIL.
        with_output: include standard output and standard error.
        with_data: include job data.
        ended_after: only tries that ended after this time, in nanoseconds since 1970.
        limit: maximum entries per page.
    """

    request_id: str
    job_id: str = ""
    failed_only: bool = False
    with_output: bool = True
    with_data: bool = True
    ended_after: int = -(2**63)
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class EntryPage:
    """One page of entries, in order.

    Attributes:
        more: whether further entries follow.
    """

    entries: list[JournalEntry]
    more: bool
