"""A request that somebody watches here, and how much of it was told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC

from spincycle.internal.v1 import job_event_pb2
from spincycle.model import revision
from spincycle.model.state import FINAL, State
from spincycle.request_manager.storage.encoded_args import EncodedArgs
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue


@dataclass(slots=True)
class TrackedRequest:
    """One request.

    Attributes:
        row: the request as it was told last.
        told: revision of what was told last; 0 if nothing was.
        position: of the last journal entry whose try's end was told.
        settled: nothing is missing that a runner might still tell, or has taken with it.
        runner_id: runner that told last, or that should.
        finished_jobs: as they were told last.
        rolled_back_jobs: likewise.
        watchers: those who watch this very request.
        for_all: its end is still to be told to those who watch all; without them, nothing.
        args: its arguments, for those who watch all; None if they were not needed so far.
    """

    row: Request
    told: int = 0
    position: int = 0
    settled: bool = True
    runner_id: str = ""
    finished_jobs: int = 0
    rolled_back_jobs: int = 0
    watchers: set[SubscriberQueue] = field(default_factory=set)
    for_all: bool = False
    args: EncodedArgs | None = None

    def lacks(self, row: Request) -> bool:
        """Whether a runner ran the request, as a new row says, and did not tell all of it."""
        if not self.settled:
            return True
        ran_since = epoch_as_told(row) > revision.parts_of(self.told).epoch
        return ran_since and row.started_at is not None

    def lacks_before(self, at: int) -> bool:
        """Whether tries had ended before a revision, as it says, whose ends were not told."""
        _, position, step = revision.parts_of(at)
        ended = position if step else position - 1
        return bool(self.told) and ended > self.position

    def reached(self, at: int) -> None:
        """All that its runner told up to a revision was told, and more may come."""
        self.told = max(self.told, at)
        self.position = max(self.position, revision.parts_of(at).position)
        self.settled = False

    def is_running(self, epoch: int) -> bool:
        """Whether it was told that the request runs under this epoch, or a later one."""
        return self.row.state is not State.PENDING and epoch_as_told(self.row) >= epoch

    def counts_move(self, finished_jobs: int, rolled_back_jobs: int) -> bool:
        """Take new counts; answers whether they are."""
        moved = (finished_jobs, rolled_back_jobs) != (self.finished_jobs, self.rolled_back_jobs)
        self.finished_jobs, self.rolled_back_jobs = finished_jobs, rolled_back_jobs
        return moved


def unseen(row: Request) -> Request:
    """The request as it was before anything of it was told."""
    return replace(row, state=State.PENDING, finished_at=None)


def begun(row: Request, event: job_event_pb2.JobEvent, runner_id: str, address: str) -> Request:
    """The request as it is while a runner runs it that told an event."""
    return replace(
        row,
        state=State.RUNNING,
        epoch=event.epoch,
        runner_id=runner_id,
        runner_address=address,
        started_at=row.started_at or event.occurred_at.ToDatetime(UTC),
        finished_at=None,
        reason="",
    )


def epoch_as_told(row: Request) -> int:
    """Epoch to which the state belongs.

    What waits may have been given to a runner already, under an epoch of which the runner tells.
    """
    waits = row.state in {State.PENDING, State.SUSPENDED}
    return row.epoch - bool(waits and row.runner_id)


def row_revision(row: Request) -> int:
    """Revision of a state that no runner tells of; 0 for RUNNING, of which one does."""
    epoch = epoch_as_told(row)
    if row.state in FINAL:
        return revision.ended(epoch)
    if row.state is State.SUSPENDED:
        return revision.suspended(epoch)
    return revision.waiting(epoch) if row.state is State.PENDING else 0
