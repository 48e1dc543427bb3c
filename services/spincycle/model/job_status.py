"""The status of a job, and the event that reports a change of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spincycle.model.state import State


@dataclass(slots=True)
class JobStatus:
    """The status of a job at one time; see spincycle.v1.JobStatus.

    Times are nanoseconds since 1970, UTC; 0 if unset in the proto.
    """

    request_id: str
    job_id: str
    type: str
    name: str
    state: State
    started_at: int = 0
    finished_at: int = 0
    retry_at: int = 0
    status: str = ""
    try_: int = 0
    percent: int | None = None
    sequence_id: str = ""
    error: str = ""
    path: str = ""


@dataclass(slots=True)
class JobEvent:
    """A runner's event about a change of a job; see spincycle.v1.JobEvent.

    Attributes:
        sequence_number: increases with every event of the request within the epoch; see
            spincycle.model.revision.number_of.
        finished_jobs: number of jobs that have completed in this run of the chain; never decreases.
        rolled_back_jobs: number of those jobs that are no longer COMPLETE.
        occurred_at: nanoseconds since 1970, UTC.
    """

    job: JobStatus
    epoch: int
    sequence_number: int
    finished_jobs: int
    rolled_back_jobs: int
    occurred_at: int
