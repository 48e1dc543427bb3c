"""The sequencer: puts events of runners and of the database in order and publishes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from spincycle.errors import SpinCycleError
from spincycle.internal.v1 import job_event_pb2
from spincycle.model.revision import BEGUN_STEP, parts_of, revision_of
from spincycle.model.state import FINAL, State
from spincycle.request_manager.request_encoding import request_failure
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.assignment_check import AssignmentCheck
from spincycle.request_manager.watch.change_poller import ChangePoller
from spincycle.request_manager.watch.cursor import Cursor
from spincycle.request_manager.watch.events import (
    EncodedEvent,
    entry_event,
    job_event,
    request_event,
)
from spincycle.request_manager.watch.registry import SubscriptionRegistry
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.snapshots import RequestSnapshot, RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import Checkpoint
from spincycle.request_manager.watch.tracked_request import (
    TrackedRequest,
    as_running,
    row_revision,
)

STARTED = job_event_pb2.CHAIN_TRANSITION_STARTED
RELEASED = job_event_pb2.CHAIN_TRANSITION_RELEASED

RUNNER_GRACE = 1.0
"""Seconds that a changed row waits for the events that its runner sends before it."""


@dataclass(slots=True)
class PendingAttach:
    """A runner whose stream started in the middle of its work.

    Attributes:
        until: offset of the snapshots; events are held back up to there, because the snapshots
            include some of them.
        snapshots: its chains.
        events: events received since the stream started.
    """

    until: int
    snapshots: list[RequestSnapshot]
    events: list[job_event_pb2.JobEvent] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Delivery:
    """An event of a batch.

    Attributes:
        for_filters: whether filter subscribers receive it, too.
    """

    tracked: TrackedRequest
    event: EncodedEvent
    for_filters: bool = True


class EventSequencer:
    """Publishes the events of tracked requests in one order; fills gaps from the journal.

    Implements FeedListener. Events are published in batches. After each batch every filter
    subscriber gets a checkpoint, whose cursor covers exactly what was published so far.

    Attributes:
        db_snapshot: database snapshot; every change that it shows was published.
        offsets: offset of the last published event, by runner id.
    """

    def __init__(
        self,
        registry: SubscriptionRegistry,
        feeds: RunnerFeeds,
        snapshots: RequestSnapshots,
        poller: ChangePoller,
        assignments: AssignmentCheck,
    ) -> None:
        self._registry = registry
        self._feeds = feeds
        self._snapshots = snapshots
        self._poller = poller
        self._assignments = assignments
        self._lock = asyncio.Lock()
        self._progress = asyncio.Event()
        self._batch: list[_Delivery] = []
        self._attaching: dict[str, PendingAttach] = {}
        self.db_snapshot = ""
        self.offsets: dict[str, int] = {}

    @property
    def cursor(self) -> Cursor:
        """The place after the last published event."""
        return Cursor(self.db_snapshot, dict(self.offsets))

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Publish nothing within this context."""
        async with self._lock:
            yield

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when a condition holds; it is checked after each event of a runner."""
        while not condition():
            self._progress.clear()
            await self._progress.wait()

    async def mark_delivered(self, row: Request, revision: int) -> None:
        """Record that the first subscriber of a request received a snapshot of it."""
        async with self._lock:
            tracked = self._registry.get(row.request_id)
            # No event may be skipped that other subscribers need. Each drops what it has.
            if tracked is not None and not tracked.delivered_revision:
                tracked.delivered_revision, tracked.row = revision, row
                if row.state is State.RUNNING:
                    tracked.mark_delivered(revision)

    # Events of runners

    async def on_start(self, runner_id: str, offset: int, resident: Sequence[str] | None) -> None:
        """Attach a runner to whose events this stream does not lead on. See FeedListener."""
        if resident is None:
            return
        await self._discover(set(resident))
        self._attaching.pop(runner_id, None)
        has_filters = bool(self._registry.filter_subscribers)
        address = self._feeds.address(runner_id)
        rows = [
            replace(tracked.row, runner_id=runner_id, runner_address=address)
            for request_id in resident
            if (tracked := self._registry.get(request_id)) is not None
            and (has_filters or tracked.delivered_revision)
        ]
        snapshots, until = (
            await self._snapshots.from_runner(rows, runner_id) if rows else ([], offset)
        )
        snapshots = await self._assignments.snapshots(runner_id, snapshots)
        async with self._publishing():
            attach = self._attaching[runner_id] = PendingAttach(until, snapshots)
            if until <= offset:
                await self._apply(runner_id, offset, attach)

    async def on_events(self, runner_id: str, events: Sequence[job_event_pb2.JobEvent]) -> None:
        """Publish events of a runner. See FeedListener."""
        await self._discover({event.request_id for event in events})
        own = await self._assignments.events(runner_id, events)
        async with self._publishing():
            attach = self._attaching.get(runner_id) or PendingAttach(0, [])
            attach.events += own
            if events and (offset := events[-1].offset) >= attach.until:
                await self._apply(runner_id, offset, attach)

    def on_lost(self, runner_id: str) -> None:
        """Forget a runner. See FeedListener."""
        self._attaching.pop(runner_id, None)
        self.offsets.pop(runner_id, None)
        self._progress.set()

    async def _discover(self, request_ids: set[str]) -> None:
        if self._registry.has_untracked(request_ids):
            await self._poller.poll_now()

    async def _apply(self, runner_id: str, offset: int, attach: PendingAttach) -> None:
        self._attaching.pop(runner_id, None)
        self.offsets[runner_id] = offset
        self._progress.set()
        for snapshot in attach.snapshots:
            tracked = self._registry.get(snapshot.row.request_id)
            if tracked is not None:
                at = max(snapshot.revision, revision_of(snapshot.row.epoch, BEGUN_STEP))
                await self._or_report(tracked, at, self._apply_snapshot(tracked, snapshot))
        for event in attach.events:
            tracked = self._registry.get(event.request_id)
            if tracked is not None:
                at = revision_of(event.epoch, event.sequence_number)
                await self._or_report(tracked, at, self._apply_event(tracked, runner_id, event))

    async def _apply_event(
        self, tracked: TrackedRequest, runner_id: str, event: job_event_pb2.JobEvent
    ) -> None:
        revision = revision_of(event.epoch, event.sequence_number)
        if event.transition == RELEASED:
            if event.epoch >= parts_of(tracked.delivered_revision).epoch:
                no_gap = parts_of(revision).position <= tracked.delivered_position
                tracked.drained = event.complete and no_gap
            return
        if revision <= tracked.delivered_revision:
            return
        tracked.runner_id = runner_id
        try:
            if tracked.has_gap_before(revision):
                await self._queue_missing_tries(tracked, revision_of(event.epoch, 0))
            if not tracked.is_running(event.epoch):
                number = event.sequence_number if event.transition == STARTED else BEGUN_STEP
                address = self._feeds.address(runner_id)
                row = as_running(tracked.row, event, runner_id, address)
                await self._queue_state(tracked, row, revision_of(event.epoch, number))
            if tracked.has_gap_before(revision):
                await self._queue_missing_tries(tracked, revision)
        except Exception:
            tracked.mark_delivered(revision)
            raise
        tracked.mark_delivered(revision)
        if event.transition != STARTED:
            counted = tracked.update_counts(event.counts.finished, event.counts.rolled_back)
            self._queue(tracked, job_event(tracked.row, event, counted=counted))

    async def _apply_snapshot(self, tracked: TrackedRequest, snapshot: RequestSnapshot) -> None:
        """Queue a snapshot of a running request in place of events that were not received."""
        at = max(snapshot.revision, revision_of(snapshot.row.epoch, BEGUN_STEP))
        if at <= tracked.delivered_revision:
            return
        tracked.runner_id = snapshot.row.runner_id
        before, tracked.row = tracked.row.state, snapshot.row
        try:
            if tracked.delivered_revision:
                await self._queue_missing_tries(tracked, at)
            else:
                await self._queue_earlier_tries(tracked, at)
        except Exception:
            tracked.mark_delivered(at)
            raise
        tracked.mark_delivered(at)
        self._queue(tracked, replace(snapshot, revision=at).as_event(before))

    # Changes in the database

    async def run(self) -> None:
        """Publish polled changes, each after the events that its runner sends before it."""
        while True:
            db_snapshot, rows = await self._poller.polled.get()
            with suppress(TimeoutError):
                async with asyncio.timeout(RUNNER_GRACE):
                    await self.wait_until(partial(self._are_due, rows))
            await self.publish_changes(db_snapshot, rows)
            self._poller.polled.task_done()

    async def publish_changes(self, db_snapshot: str, rows: Sequence[Request]) -> None:
        """Publish the changes that became visible in a database snapshot."""
        async with self._publishing():
            self.db_snapshot = db_snapshot
            for row in rows:
                tracked = self._registry.get(row.request_id)
                if tracked is not None:
                    at = row_revision(row) or revision_of(row.epoch, BEGUN_STEP)
                    await self._or_report(tracked, at, self._apply_row(tracked, row))

    def _are_due(self, rows: Sequence[Request]) -> bool:
        return not any(map(self._awaits_runner, rows))

    def _awaits_runner(self, row: Request) -> bool:
        """Return whether a connected runner has yet to send events that come before a row."""
        tracked = self._registry.get(row.request_id)
        if tracked is None or row.state is State.PENDING:
            return False
        if not self._feeds.is_connected(tracked.runner_id):
            return False
        if row.state is State.RUNNING:
            return not tracked.is_running(row.epoch)
        return row_revision(row) > tracked.delivered_revision and tracked.has_gap_at_end_of(row)

    async def _apply_row(self, tracked: TrackedRequest, row: Request) -> None:
        if row.state in FINAL:
            self._registry.remove(row.request_id)
        is_running = row.state is State.RUNNING
        revision = row_revision(row) or revision_of(row.epoch, BEGUN_STEP)
        if revision <= tracked.delivered_revision:
            return
        if is_running and tracked.is_running(row.epoch):
            return
        if row.state is State.PENDING and tracked.delivered_revision:
            return
        try:
            if tracked.delivered_revision and tracked.has_gap_at_end_of(row):
                await self._queue_missing_tries(tracked, revision)
            await self._queue_state(tracked, row, revision)
        finally:
            tracked.row = row
            tracked.delivered_revision = max(tracked.delivered_revision, revision)
            tracked.drained = not is_running

    # Publishing

    @asynccontextmanager
    async def _publishing(self) -> AsyncIterator[None]:
        """Publish the events queued within this context as one batch."""
        async with self._lock:
            try:
                yield
            finally:
                self._publish()

    def _publish(self) -> None:
        """Put the batch, and a checkpoint after it, into the queues of the subscribers."""
        batch, self._batch = self._batch, []
        filter_subscribers = self._registry.filter_subscribers
        for one in batch:
            for subscriber in one.tracked.id_subscribers:
                subscriber.put(one.event)
            if one.for_filters:
                for subscriber in filter_subscribers:
                    subscriber.put(one.event)
        if batch and filter_subscribers:
            checkpoint = Checkpoint(self.cursor.text)
            for subscriber in filter_subscribers:
                subscriber.put_checkpoint(checkpoint)

    def _queue(self, tracked: TrackedRequest, event: EncodedEvent) -> None:
        tracked.delivered_revision = max(tracked.delivered_revision, event.revision)
        self._batch.append(_Delivery(tracked, event))

    async def _queue_state(self, tracked: TrackedRequest, row: Request, revision: int) -> None:
        """Queue a new state, as a snapshot if it is the first event for filter subscribers."""
        before, tracked.row = tracked.row.state, row
        if tracked.delivered_revision or not self._registry.filter_subscribers:
            self._queue(tracked, request_event(row, before, revision, tracked.finished_jobs))
            return
        if tracked.args is not None and not parts_of(revision).position:
            snapshot = RequestSnapshot(row, revision, tracked.args)
        else:
            await self._queue_earlier_tries(tracked, revision)
            snapshot = await self._snapshots.stored(row, revision)
        self._queue(tracked, snapshot.as_event(before))

    async def _queue_missing_tries(self, tracked: TrackedRequest, until: int) -> None:
        """Queue the ends of tries before a revision that the runner did not send."""
        entries = self._snapshots.entries(tracked.row.request_id, tracked.delivered_position)
        async for entry in entries:
            event = entry_event(tracked.row, entry)
            if event.revision >= until:
                break
            if event.revision > tracked.delivered_revision:
                self._queue(tracked, event)
            tracked.delivered_position = max(tracked.delivered_position, entry.position)

    async def _queue_earlier_tries(self, tracked: TrackedRequest, until: int) -> None:
        """Queue the ends of tries before a first snapshot, for id subscribers only.

        They started with a snapshot of their own, perhaps of an earlier revision, and the new
        one has only the last try of each job. Each drops what is not above its revision.
        """
        if not tracked.id_subscribers:
            return
        async for entry in self._snapshots.entries(tracked.row.request_id, 0):
            event = entry_event(tracked.row, entry)
            if event.revision >= until:
                break
            self._batch.append(_Delivery(tracked, event, for_filters=False))

    # Failures

    async def _or_report(
        self, tracked: TrackedRequest, revision: int, applying: Awaitable[None]
    ) -> None:
        """Apply a change up to a revision; if that fails, count the revision as delivered.

        A failure of this request alone is published in its place. Any other failure disconnects
        all subscribers, which then resume from their cursors. If the task is cancelled, because
        its runner is lost, only what was queued counts as delivered.
        """
        try:
            await applying
        except Exception as cause:  # noqa: BLE001 # one request must not block all others
            try:
                failure = request_failure(tracked.row.request_id, cause)
            except SpinCycleError as shared_failure:
                self.disconnect_all(shared_failure)
                return
            at = max(revision, tracked.delivered_revision)
            self._queue(tracked, request_event(tracked.row, None, at, failure=failure))

    def disconnect_all(self, failure: SpinCycleError) -> None:
        """Disconnect every subscriber, so that each resumes from its last cursor."""
        subscribers = self._registry.subscribers
        if subscribers:
            structlog.get_logger().warning(
                "subscribers disconnected", subscribers=len(subscribers), reason=failure.message
            )
        for subscriber in subscribers:
            subscriber.disconnect(failure)
