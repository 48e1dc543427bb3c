"""How a chain is at one moment, for callers that want to be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.job_runner.commit_gate import CommitGate
    from spincycle.model.job_status import JobStatus


@dataclass(frozen=True, slots=True)
class ChainView:
    """How a chain is at one number of its events; see JobEvent.

    Attributes:
        jobs: those that have started at least once, or that wait between tries.
    """

    request_id: str
    epoch: int
    sequence_number: int
    jobs: list[JobStatus]
    finished_jobs: int
    rolled_back_jobs: int


@dataclass(slots=True)
class Description:
    """A view that its caller is told once it is made and committed."""

    tell: Callable[[ChainView], None]
    held: CommitGate
    view: ChainView | None = None
    unwanted: bool = False

    def __call__(self) -> None:
        """Tell the view."""
        if self.view is not None:
            self.tell(self.view)

    def take_back(self) -> None:
        """Do not tell it, if that was not done yet."""
        self.unwanted = True
        self.held.take_back(self)
