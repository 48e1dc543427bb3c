"""Consistent view of one chain at a point of its event sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.job_runner.commit_gate import CommitGate
    from spincycle.model.job_status import JobStatus


@dataclass(frozen=True, slots=True)
class ChainView:
    """State of a chain as of one sequence number of its events; see JobEvent.

    Attributes:
        jobs: jobs that have started at least once or wait between tries.
    """

    request_id: str
    epoch: int
    sequence_number: int
    jobs: list[JobStatus]
    finished_jobs: int
    rolled_back_jobs: int


@dataclass(slots=True)
class PendingView:
    """A view that is delivered once it is built and its journal position is committed."""

    deliver: Callable[[ChainView], None]
    gate: CommitGate
    view: ChainView | None = None
    cancelled: bool = False

    def __call__(self) -> None:
        """Deliver the view."""
        if self.view is not None:
            self.deliver(self.view)

    def cancel(self) -> None:
        """Drop the view if it was not delivered yet."""
        self.cancelled = True
        self.gate.cancel(self)
