"""The delivery state of a watched request."""

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
    """What has been delivered of one request, and to which subscribers.

    Attributes:
        row: the request as the last event showed it.
        delivered_revision: revision of the last event; 0 before the first one.
        delivered_position: journal position of the last try whose end was delivered.
        drained: whether every event that its runner sent or still holds was delivered.
        runner_id: the runner that sent the last event, or that is expected to send the next.
        finished_jobs: count in the last event.
        rolled_back_jobs: count in the last event.
        id_subscribers: queues of subscribers that named the request.
        for_filters: whether filter subscribers still need its events. Has no effect while there
            are no filter subscribers.
        args: its arguments, for filter subscribers; None if they have not been needed.
        assignment: runner id and epoch of the assignment that was read last.
    """

    row: Request
    delivered_revision: int = 0
    delivered_position: int = 0
    drained: bool = True
    runner_id: str = ""
    finished_jobs: int = 0
    rolled_back_jobs: int = 0
    id_subscribers: set[SubscriberQueue] = field(default_factory=set)
    for_filters: bool = False
    args: EncodedArgs | None = None
    assignment: tuple[str, int] = ("", 0)

    def has_gap_at_end_of(self, row: Request) -> bool:
        """Return whether a runner ran the request up to a row and not all of it was delivered."""
        if not self.drained:
            return True
        ran_since = state_epoch(row) > revision.parts_of(self.delivered_revision).epoch
        return ran_since and row.started_at is not None

    def has_gap_before(self, at: int) -> bool:
        """Return whether ends of tries before a revision were not delivered."""
        _, position, step = revision.parts_of(at)
        ended = position if step else position - 1
        return bool(self.delivered_revision) and ended > self.delivered_position

    def mark_delivered(self, at: int) -> None:
        """Record that all events of the runner up to a revision were delivered."""
        self.delivered_revision = max(self.delivered_revision, at)
        self.delivered_position = max(self.delivered_position, revision.parts_of(at).position)
        self.drained = False

    def is_running(self, epoch: int) -> bool:
        """Return whether the last event shows the request running under this epoch or a later."""
        return self.row.state is not State.PENDING and state_epoch(self.row) >= epoch

    def update_counts(self, finished_jobs: int, rolled_back_jobs: int) -> bool:
        """Set the counts; return whether they changed."""
        changed = (finished_jobs, rolled_back_jobs) != (self.finished_jobs, self.rolled_back_jobs)
        self.finished_jobs, self.rolled_back_jobs = finished_jobs, rolled_back_jobs
        return changed


def before_first_event(row: Request) -> Request:
    """Return the request as it was before its first event."""
    return replace(row, state=State.PENDING, finished_at=None)


def as_running(
    row: Request, event: job_event_pb2.JobEvent, runner_id: str, address: str
) -> Request:
    """Return the request as running on the runner that sent an event."""
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


def state_epoch(row: Request) -> int:
    """Return the epoch to which the state belongs.

    A waiting request that is already assigned has the epoch of the assignment, which belongs to
    the events of the runner.
    """
    waits = row.state in {State.PENDING, State.SUSPENDED}
    return row.epoch - bool(waits and row.runner_id)


def row_revision(row: Request) -> int:
    """Return the revision of the state; 0 for RUNNING, whose revision its runner sends."""
    epoch = state_epoch(row)
    if row.state in FINAL:
        return revision.ended(epoch)
    if row.state is State.SUSPENDED:
        return revision.suspended(epoch)
    return revision.waiting(epoch) if row.state is State.PENDING else 0
