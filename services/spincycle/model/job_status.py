"""What is known of one job at one moment, and the event that tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spincycle.model.state import State


@dataclass(slots=True)
class JobStatus:
    """One job at one moment; see spincycle.v1.JobStatus.

    Times are nanoseconds since 1970, UTC; 0 where the proto leaves them unset.
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


@dataclass(slots=True)
class JobEvent:
    """One change of a job, as its runner tells it; see spincycle.v1.JobEvent.

    Attributes:
        sequence_number: rises with every event of the request within the epoch; see
            spincycle.model.revision.number_of.
        finished_jobs: jobs that have ever completed in this run of the chain; never falls.
        rolled_back_jobs: those of them that are not COMPLETE now.
        occurred_at: nanoseconds since 1970, UTC.
    """

    job: JobStatus
    epoch: int
    sequence_number: int
    finished_jobs: int
    rolled_back_jobs: int
    occurred_at: int
