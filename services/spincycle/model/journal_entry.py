"""The journal entry: the record of a finished try of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value
    from spincycle.model.state import State


@dataclass(slots=True)
class JournalEntry:
    """A finished try; see spincycle.v1.JobLog for its fields.

    Attributes:
        started_at: nanoseconds since 1970, UTC; 0 if the job could not be started.
        finished_at: nanoseconds since 1970, UTC.
        state: COMPLETE, FAIL or STOPPED.
        data: job data for the successors; None unless the state is COMPLETE, and for structural
            jobs, which only forward their data.
        final: whether the failure is final: no further try follows in this try of the sequence.
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
    path: str = ""
