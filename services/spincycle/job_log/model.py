"""What the parts of the job log hand to one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from spincycle.errors import SpinCycleError
from spincycle.model.journal_entry import JournalEntry


class Row(NamedTuple):
    """An entry as the database takes it, field by field as its type job_log.new_entry.

    A position of 0 asks the journal for the next one.
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

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 300 + len(self.error) + len(self.stdout) + len(self.stderr) + len(self.data or "")


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """An entry that the journal does not take, and why."""

    request_id: str
    job_id: str
    try_: int
    error: SpinCycleError


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries of a request are wanted, and how many at once.

    Attributes:
        job_id: only of this job; empty means of all.
        failed_only: only those that ended in FAIL.
        with_output: include standard output and standard error.
        with_data: include job data.
        ended_after: only of tries that ended after this time, in nanoseconds since 1970.
        limit: most entries in a page.
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
    """Some entries, in order.

    Attributes:
        more: whether others follow.
    """

    entries: list[JournalEntry]
    more: bool
