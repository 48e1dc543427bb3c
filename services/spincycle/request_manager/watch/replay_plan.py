"""The plan of a replay: what one round has read, put in order for each cursor."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from spincycle.errors import CursorTooOld
from spincycle.internal.v1 import job_event_pb2
from spincycle.model.revision import BEGUN_STEP, revision_of
from spincycle.model.state import FINAL, State
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.cursor import Cursor, snapshot_before
from spincycle.request_manager.watch.events import EncodedEvent, job_event
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots, SnapshotKey
from spincycle.request_manager.watch.tracked_request import as_running, row_revision

STARTED = job_event_pb2.CHAIN_TRANSITION_STARTED
RELEASED = job_event_pb2.CHAIN_TRANSITION_RELEASED

PART_REQUESTS = 100
"""Most requests per part of a replay."""

PART_JOBS = 1000
"""Jobs or events after which a part takes no further request."""

MIN_PART = 1 / 4
"""Fraction of a full part after which it ends at the next place with a cursor."""


@dataclass(slots=True)
class RunnerRange:
    """The range of events that were read from a runner.

    Attributes:
        address: host:port; empty if it is not known.
        responded: whether the events were read.
        floor: offset after which the events are complete.
    """

    address: str
    responded: bool
    floor: int


RunnerEvent = tuple[str, job_event_pb2.JobEvent]
"""The id of a runner, and an event that it sent."""


@dataclass(slots=True)
class ChangedRequests:
    """Requests whose state changed, each with the transaction that changed it, in that order."""

    rows: list[tuple[int, Request]]
    by_id: dict[str, tuple[int, Request]] = field(init=False)

    def __post_init__(self) -> None:
        """Index the rows."""
        self.by_id = {one[1].request_id: one for one in self.rows}

    def share(self, other: ChangedRequests) -> None:
        """Replace rows by equal rows of another read, to save memory."""
        for index, one in enumerate(self.rows):
            known = other.by_id.get(one[1].request_id)
            if known is not None and known == one:
                self.rows[index] = self.by_id[one[1].request_id] = known


@dataclass(slots=True)
class ReplaySource:
    """Everything that one round has read for its subscribers.

    Attributes:
        until: where the replay ends.
        live: requests that have not ended, as of `until`.
        runners: ranges of the events of connected runners, by runner id.
        events: those events, by request.
        rows: the requests of `events`, read before `changed`: one that is not in `changed` is as
            it was at the cursor.
        changed: changed requests by `Cursor.db_snapshot`; None if there are too many.
    """

    until: Cursor
    live: dict[str, Request]
    runners: dict[str, RunnerRange]
    events: dict[str, list[RunnerEvent]]
    rows: dict[str, Request]
    changed: dict[str, ChangedRequests | None]

    @property
    def size(self) -> int:
        """Number of rows and events."""
        changed = {id(one): len(one.rows) for one in self.changed.values() if one is not None}
        events = sum(map(len, self.events.values()))
        return sum(changed.values()) + len(self.rows) + events

    def clear(self) -> None:
        """Drop everything."""
        for one in self.changed.values():
            if one is not None:
                one.rows.clear()
                one.by_id.clear()
        for held in (self.live, self.events, self.rows, self.changed):
            held.clear()


@dataclass(frozen=True, slots=True)
class ReplayItem:
    """The replay of one request.

    Attributes:
        parts: events, and keys of snapshots to be read.
        delivered_revision: revision up to which the subscriber has received the events.
        transaction: transaction that changed the request; 0 if none did since the cursor.
        repeats: whether a cursor after `transaction` would repeat some of the parts, because it
            could not include the events that runners sent since.
    """

    row: Request
    parts: Sequence[EncodedEvent | SnapshotKey]
    delivered_revision: int = 0
    transaction: int = 0
    repeats: bool = False

    @property
    def weight(self) -> int:
        """Approximate number of jobs in the parts."""
        return sum(
            self.row.total_jobs if isinstance(part, SnapshotKey) else 1 for part in self.parts
        )


@dataclass(frozen=True, slots=True)
class PartPlan:
    """What one part of a replay contains.

    Attributes:
        at: cursor after the part; None if the stream cannot be resumed there.
        is_last: whether the replay ends with this part.
    """

    items: Sequence[ReplayItem]
    at: Cursor | None
    is_last: bool = False


class ReplayPlan:
    """Plans the replay after one cursor.

    Attributes:
        after: the cursor.
        may_lack_events: whether the last events of a runner may be missing.

    Raises:
        CursorTooOld: too much has changed since the cursor, or it is of another database.
    """

    def __init__(
        self, source: ReplaySource, after: Cursor, round_number: int, snapshots: SharedSnapshots
    ) -> None:
        changed = source.changed.get(after.db_snapshot)
        if after.visible.next_id > source.until.visible.next_id or changed is None:
            raise CursorTooOld(after.text)
        self._source = source
        self.after = after
        self._round_number = round_number
        self._snapshots = snapshots
        self._changed = changed
        self._visible = after.visible
        self._covered = self._covered_runners()
        self.may_lack_events = any(map(self._is_uncovered, source.live.values()))

    def parts(self, excluded: Container[str] = ()) -> Iterator[PartPlan]:
        """Yield the parts in order, at least one, without the excluded requests."""
        until = self._source.until
        first_running = until.visible.first_running
        items = (item for item in self._items() if item.row.request_id not in excluded)
        following = next(items, None)
        part: list[ReplayItem] = []
        repeats = False
        while following is not None:
            part = []
            fill, done = 0.0, 0
            at: Cursor | None = None
            while following is not None and fill < (MIN_PART if at else 1):
                part.append(following)
                fill += 1 / PART_REQUESTS + following.weight / PART_JOBS
                repeats |= following.repeats
                done, following = following.transaction, next(items, None)
                # A cursor is possible between two transactions, once none up to it is running.
                at = None
                limit = min(following.transaction, first_running) if following is not None else 0
                if 0 < done < limit and not repeats:
                    at = Cursor(snapshot_before(done + 1), self.after.offsets)
            if following is not None:
                yield PartPlan(part, at)
        # Current snapshots of uncovered requests may be later than `until`.
        yield PartPlan(part, None if self.may_lack_events else until, is_last=True)

    def _items(self) -> Iterator[ReplayItem]:
        """Yield what to replay of each request; first of changed ones, in the order of changes."""
        live, visible = self._source.live, self._source.until.visible
        for transaction, row in self._changed.rows:
            # Other changes were delivered before the cursor, or come after `until`.
            if not self._visible.includes(transaction) and (
                row.request_id in live or visible.includes(transaction)
            ):
                yield self._changed_item(live.get(row.request_id, row), transaction)
        for request_id, row in self._source.rows.items():
            if not self._is_changed(request_id) and (events := self._events_of(request_id)):
                # An evicted runner keeps sending events under the epoch it was last assigned.
                epoch = live.get(request_id, row).epoch
                delivered = row_revision(row) or revision_of(epoch, BEGUN_STEP)
                yield ReplayItem(row, self._event_parts(row, events, is_changed=False), delivered)
        for request_id, row in live.items() if self.may_lack_events else ():
            is_replayed = self._is_changed(request_id) or self._events_of(request_id)
            if self._is_uncovered(row) and not is_replayed:
                yield ReplayItem(row, [self._snapshot_key(row)])

    def _changed_item(self, row: Request, transaction: int) -> ReplayItem:
        """Return what to replay of a request whose state changed after the cursor."""
        events = self._events_of(row.request_id)
        is_covered = row.state is State.RUNNING and row.runner_id in self._covered
        parts: list[EncodedEvent | SnapshotKey] = [] if is_covered else [self._snapshot_key(row)]
        parts += self._event_parts(row, events, is_changed=True)
        # An epoch started before the cursor if its runner has every event after the cursor, and
        # the start is not among them.
        started_before = {event.epoch for _, event in events}
        if is_covered:
            started_before.add(row.epoch)
        started_before -= {event.epoch for _, event in events if event.transition == STARTED}
        delivered = revision_of(max(started_before), 0) if started_before else 0
        repeats = bool(events) and row.state not in FINAL
        return ReplayItem(row, parts, delivered, transaction, repeats)

    def _covered_runners(self) -> set[str]:
        """Return the runners whose events after the cursor are complete."""
        covered: set[str] = set()
        for runner_id, offset in self._source.until.offsets.items():
            known = self.after.offsets.get(runner_id, 0)
            runner = self._source.runners.get(runner_id)
            if runner is None or offset < known or (known < offset and not runner.responded):
                continue
            if known >= runner.floor:
                covered.add(runner_id)
            elif runner_id in self.after.offsets:
                raise CursorTooOld(self.after.text)
        return covered

    def _is_uncovered(self, row: Request) -> bool:
        return row.state is State.RUNNING and row.runner_id not in self._covered

    def _is_changed(self, request_id: str) -> bool:
        changed = self._changed.by_id.get(request_id)
        return changed is not None and not self._visible.includes(changed[0])

    def _events_of(self, request_id: str) -> list[RunnerEvent]:
        offsets = self.after.offsets
        return [
            (runner_id, event)
            for runner_id, event in self._source.events.get(request_id, ())
            if runner_id in self._covered and event.offset > offsets.get(runner_id, 0)
        ]

    def _event_parts(
        self, row: Request, events: Sequence[RunnerEvent], *, is_changed: bool
    ) -> list[EncodedEvent | SnapshotKey]:
        parts: list[EncodedEvent | SnapshotKey] = []
        for runner_id, event in events:
            if event.transition == RELEASED:
                continue
            running = as_running(row, event, runner_id, self._source.runners[runner_id].address)
            if event.transition == STARTED:
                at = revision_of(event.epoch, event.sequence_number)
                parts.append(SnapshotKey(running, at))
            else:
                key = ("event", self._round_number, runner_id, event.offset, is_changed)
                make = partial(job_event, running, event, counted=True)
                parts.append(self._snapshots.event(key, running, make))
        return parts

    def _snapshot_key(self, row: Request) -> SnapshotKey:
        return SnapshotKey(row, row_revision(row), self._round_number)
