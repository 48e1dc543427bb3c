"""One entry of the journal: what a finished try of a job was and did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value
    from spincycle.model.state import State


@dataclass(slots=True)
class JournalEntry:
    """A finished try; see spincycle.v1.JobLog for what each field means.

    Attributes:
        started_at: nanoseconds since 1970, UTC; 0 if the job could not be started at all.
        finished_at: likewise.
        state: COMPLETE, FAIL or STOPPED.
        data: what the job left for its successors; None unless it is COMPLETE, and for
            structural jobs, which only pass on what they were given.
        final: the job failed for good: no other try of it follows in this try of its
            sequence.
    """

    request_id: str
    job_id: str
    try_: int
    name: str
    type: str
    started_at: int
    finished_at: int
    state: State
    exit: int = 0
    error: str = ""
    stdout: str = ""
    stderr: str = ""
    sequence_id: str = ""
    sequence_try: int = 0
    position: int = 0
    epoch: int = 0
    data: dict[str, Value] | None = None
    final: bool = False
