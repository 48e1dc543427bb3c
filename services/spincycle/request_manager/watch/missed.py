"""What streams of all requests missed: read once for many cursors, and put in order for each."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from spincycle.errors import CursorTooOld
from spincycle.internal.v1 import job_event_pb2
from spincycle.model.revision import BEGUN_STEP, revision_of
from spincycle.model.state import FINAL, State
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.cursor import Cursor, before
from spincycle.request_manager.watch.events import EncodedEvent, job_change
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots, Wanted
from spincycle.request_manager.watch.tracked_request import begun, row_revision

BEGUN = job_event_pb2.CHAIN_TRANSITION_STARTED
LEFT = job_event_pb2.CHAIN_TRANSITION_RELEASED

PORTION_REQUESTS = 100
"""Most requests whose changes are put together at once for a watcher."""

PORTION_JOBS = 1000
"""Jobs of requests, or events, after which a portion takes no further request."""

ENOUGH = 1 / 4
"""Part of a portion after which it ends if the stream can be taken up again there."""


@dataclass(slots=True)
class RunnerSteps:
    """Events of a runner that watchers of a round may have missed.

    Attributes:
        address: host:port; empty if it is not known.
        answered: whether it told them.
        floor: order after which there are all of them.
    """

    address: str
    answered: bool
    floor: int


Step = tuple[str, job_event_pb2.JobEvent]
"""What a runner told: its id, and the event."""


@dataclass(slots=True)
class ChangedRequest:
    """Requests whose state changed, each with the transaction that changed it, in that order."""

    rows: list[tuple[int, Request]]
    by_id: dict[str, tuple[int, Request]] = field(init=False)

    def __post_init__(self) -> None:
        """Index the rows."""
        self.by_id = {one[1].request_id: one for one in self.rows}

    def share(self, other: ChangedRequest) -> None:
        """Hold the rows of another read in place of equal ones."""
        for place, one in enumerate(self.rows):
            known = other.by_id.get(one[1].request_id)
            if known is not None and known == one:
                self.rows[place] = self.by_id[one[1].request_id] = known


@dataclass(slots=True)
class MissedRequest:
    """All that the watchers of a round may have missed.

    Attributes:
        until: where it ends.
        live: requests that have not ended, as they were told there.
        runners: what is known of the events of each connected runner, by its id.
        steps: those events, by request.
        rows: the requests of `steps`, read before `changed`: those that are not in that are as
            they were at the cursor.
        changed: by `Cursor.seen`; None if too many have changed since that.
    """

    until: Cursor
    live: dict[str, Request]
    runners: dict[str, RunnerSteps]
    steps: dict[str, list[Step]]
    rows: dict[str, Request]
    changed: dict[str, ChangedRequest | None]

    @property
    def size(self) -> int:
        """Rows and events in it."""
        changed = {id(one): len(one.rows) for one in self.changed.values() if one is not None}
        events = sum(map(len, self.steps.values()))
        return sum(changed.values()) + len(self.rows) + events

    def clear(self) -> None:
        """Drop it all."""
        for one in self.changed.values():
            if one is not None:
                one.rows.clear()
                one.by_id.clear()
        for held in (self.live, self.steps, self.rows, self.changed):
            held.clear()


@dataclass(frozen=True, slots=True)
class ReplayItem:
    """What is told of one request.

    Attributes:
        parts: events, and snapshots that are still to be read.
        told: revision up to which all was told.
        transaction: that changed the request; 0 if none did since the cursor.
        repeats: some of it would be told again after a cursor that has the transaction, but not
            what runners told since.
    """

    row: Request
    parts: Sequence[EncodedEvent | Wanted]
    told: int = 0
    transaction: int = 0
    repeats: bool = False

    @property
    def weight(self) -> int:
        """About how many jobs it tells of."""
        return sum(self.row.total_jobs if isinstance(part, Wanted) else 1 for part in self.parts)


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What is told in one portion.

    Attributes:
        at: cursor after it; None where the stream cannot be taken up again.
        is_last: nothing is missing after it.
    """

    tellings: Sequence[ReplayItem]
    at: Cursor | None
    is_last: bool = False


class Gap:
    """What was missed after one cursor.

    Attributes:
        after: the cursor.
        has_lost: what a runner told last that does not answer may be lost.
    """

    def __init__(
        self, missed: MissedRequest, after: Cursor, number: int, snapshots: SharedSnapshots
    ) -> None:
        changed = missed.changed.get(after.seen)
        if after.snapshot.last > missed.until.snapshot.last or changed is None:
            raise CursorTooOld(after.text)
        self._missed = missed
        self.after = after
        self._number = number
        self._snapshots = snapshots
        self._changed = changed
        self._seen = after.snapshot
        self._covered = self._covered_runners()
        self.has_lost = any(map(self._is_lost, missed.live.values()))

    def plans(self, over: Container[str] = ()) -> Iterator[ReplayPlan]:
        """Yield portions in order, at least one; `over` are requests that are left out."""
        until = self._missed.until
        first_running = until.snapshot.first
        tellings = (one for one in self._tellings() if one.row.request_id not in over)
        following = next(tellings, None)
        portion: list[ReplayItem] = []
        repeats = False
        while following is not None:
            portion = []
            full, done = 0.0, 0
            at: Cursor | None = None
            while following is not None and full < (ENOUGH if at else 1):
                portion.append(following)
                full += 1 / PORTION_REQUESTS + following.weight / PORTION_JOBS
                repeats |= following.repeats
                done, following = following.transaction, next(tellings, None)
                # Between two transactions, if none is still running of those up to there.
                at = None
                limit = min(following.transaction, first_running) if following is not None else 0
                if 0 < done < limit and not repeats:
                    at = Cursor(before(done + 1), self.after.orders)
            if following is not None:
                yield ReplayPlan(portion, at)
        # Unless some of it may be beyond `until`.
        yield ReplayPlan(portion, None if self.has_lost else until, is_last=True)

    def _tellings(self) -> Iterator[ReplayItem]:
        """What is told of each request; first of those whose state changed, in that order."""
        live, shown = self._missed.live, self._missed.until.snapshot
        for transaction, row in self._changed.rows:
            # Else it was told before, or it came after `until`.
            if not self._seen.shows(transaction) and (
                row.request_id in live or shown.shows(transaction)
            ):
                yield self._of_new(live.get(row.request_id, row), transaction)
        for request_id, row in self._missed.rows.items():
            if not self._is_new(request_id) and (steps := self._steps_of(request_id)):
                # A runner that is given up tells on under the epoch that it was told of with.
                epoch = live.get(request_id, row).epoch
                told = row_revision(row) or revision_of(epoch, BEGUN_STEP)
                yield ReplayItem(row, self._stepwise(row, steps, is_new=False), told)
        for request_id, row in live.items() if self.has_lost else ():
            is_told = self._is_new(request_id) or self._steps_of(request_id)
            if self._is_lost(row) and not is_told:
                yield ReplayItem(row, [self._now(row)])

    def _of_new(self, row: Request, transaction: int) -> ReplayItem:
        """What was missed of a request that has another state than it had at the cursor."""
        steps = self._steps_of(row.request_id)
        goes_on = row.state is State.RUNNING and row.runner_id in self._covered
        parts: list[EncodedEvent | Wanted] = [] if goes_on else [self._now(row)]
        parts += self._stepwise(row, steps, is_new=True)
        # An epoch had begun before the cursor if its runner knows all that came after the cursor,
        # and the beginning is not among it.
        begun_before = {event.epoch for _, event in steps} | ({row.epoch} if goes_on else set())
        begun_before -= {event.epoch for _, event in steps if event.transition == BEGUN}
        told = revision_of(max(begun_before), 0) if begun_before else 0
        return ReplayItem(row, parts, told, transaction, bool(steps) and row.state not in FINAL)

    def _covered_runners(self) -> set[str]:
        """Runners of which all is there that they told after the cursor."""
        covered: set[str] = set()
        for runner_id, order in self._missed.until.orders.items():
            known = self.after.orders.get(runner_id, 0)
            runner = self._missed.runners.get(runner_id)
            if runner is None or order < known or (known < order and not runner.answered):
                continue
            if known >= runner.floor:
                covered.add(runner_id)
            elif runner_id in self.after.orders:
                raise CursorTooOld(self.after.text)
        return covered

    def _is_lost(self, row: Request) -> bool:
        return row.state is State.RUNNING and row.runner_id not in self._covered

    def _is_new(self, request_id: str) -> bool:
        changed = self._changed.by_id.get(request_id)
        return changed is not None and not self._seen.shows(changed[0])

    def _steps_of(self, request_id: str) -> list[Step]:
        orders = self.after.orders
        return [
            (runner_id, event)
            for runner_id, event in self._missed.steps.get(request_id, ())
            if runner_id in self._covered and event.offset > orders.get(runner_id, 0)
        ]

    def _stepwise(
        self, row: Request, steps: Sequence[Step], *, is_new: bool
    ) -> list[EncodedEvent | Wanted]:
        parts: list[EncodedEvent | Wanted] = []
        for runner_id, event in steps:
            if event.transition == LEFT:
                continue
            running = begun(row, event, runner_id, self._missed.runners[runner_id].address)
            if event.transition == BEGUN:
                at = revision_of(event.epoch, event.sequence_number)
                parts.append(Wanted(running, at))
            else:
                key = ("step", self._number, runner_id, event.offset, is_new)
                make = partial(job_change, running, event, counted=True)
                parts.append(self._snapshots.event(key, running, make))
        return parts

    def _now(self, row: Request) -> Wanted:
        return Wanted(row, row_revision(row), self._number)
