"""Puts what runners and the database tell into one order, request by request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import structlog

from spincycle.errors import SpinCycleError
from spincycle.internal.v1 import job_event_pb2
from spincycle.model.revision import BEGUN_STEP, parts_of, revision_of
from spincycle.model.state import FINAL, State
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.cursor import Cursor
from spincycle.request_manager.watch.events import (
    EncodedEvent,
    entry_change,
    job_change,
    request_change,
)
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.snapshots import RequestSnapshot, RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import Checkpoint, SubscriberQueue
from spincycle.request_manager.watch.tracked_request import TrackedRequest, begun, row_revision
from spincycle.request_manager.watch.unreadable import request_failure

BEGUN = job_event_pb2.CHAIN_TRANSITION_STARTED
LEFT = job_event_pb2.CHAIN_TRANSITION_RELEASED


@dataclass(slots=True)
class PendingAttach:
    """A runner whose stream began among chains of which it had told before.

    Attributes:
        until: order that the views hold; what the runner tells up to there waits here, since
            some of it is in the views.
        views: how its chains are.
        events: what it has told since its stream began.
    """

    until: int
    views: list[RequestSnapshot]
    events: list[job_event_pb2.JobEvent] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Delivery:
    """An event of a piece.

    Attributes:
        for_all: it is also for subscribers of all requests.
    """

    tracked: TrackedRequest
    change: EncodedEvent
    for_all: bool = True


class EventSequencer:
    """Tells all who watch what has changed. What a runner took with it it tells from the journal.

    Who watches all requests is given what is told in pieces, each followed by a mark. Everything
    up to the mark's cursor was told then, and nothing that comes after it.

    Attributes:
        tracked: requests that somebody watches, by id.
        of_all: those who watch all requests.
        seen: snapshot of the database: what is visible in it was told.
        orders: by runner, the order of its last event that was told.
    """

    def __init__(self, feeds: RunnerFeeds, views: RequestSnapshots) -> None:
        self._feeds = feeds
        self._views = views
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._piece: list[_Delivery] = []
        self._joining: dict[str, PendingAttach] = {}
        self.tracked: dict[str, TrackedRequest] = {}
        self.of_all: set[SubscriberQueue] = set()
        self.seen = ""
        self.orders: dict[str, int] = {}

    @property
    def cursor(self) -> Cursor:
        """Where all that was told ends."""
        return Cursor(self.seen, dict(self.orders))

    @asynccontextmanager
    async def silence(self) -> AsyncIterator[None]:
        """Nothing is told within."""
        async with self._turn:
            yield

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something holds; looked at whenever a runner has told something."""
        while not holds():
            self._news.clear()
            await self._news.wait()

    async def know(self, row: Request, told: int) -> None:
        """Whoever waits for a request was told how it is, at a revision."""
        async with self._turn:
            tracked = self.tracked.get(row.request_id)
            # What others wait for must not be skipped: each watcher knows what he was told.
            if tracked is not None and not tracked.told:
                tracked.told, tracked.row = told, row
                if row.state is State.RUNNING:
                    tracked.reached(told)

    # What runners tell

    async def began(self, runner_id: str, order: int, here: Sequence[str]) -> None:
        """The stream of a runner begins after an order, with these requests' chains under way."""
        self._joining.pop(runner_id, None)
        of_all = bool(self.of_all)
        address = self._feeds.address(runner_id)
        rows = [
            replace(tracked.row, runner_id=runner_id, runner_address=address)
            for request_id in here
            if (tracked := self.tracked.get(request_id)) is not None and (of_all or tracked.told)
        ]
        views, until = await self._views.of_runner(rows, runner_id) if rows else ([], order)
        async with self._together():
            joining = self._joining[runner_id] = PendingAttach(until, views)
            if until <= order:
                await self._hear_all(runner_id, order, joining)

    def gone(self, runner_id: str) -> None:
        """A runner is gone."""
        self._joining.pop(runner_id, None)
        self.orders.pop(runner_id, None)
        self._news.set()

    async def heard(self, runner_id: str, events: Sequence[job_event_pb2.JobEvent]) -> None:
        """A runner told something."""
        async with self._together():
            joining = self._joining.get(runner_id) or PendingAttach(0, [])
            joining.events += events
            if joining.events and (order := joining.events[-1].offset) >= joining.until:
                await self._hear_all(runner_id, order, joining)

    async def _hear_all(self, runner_id: str, order: int, joining: PendingAttach) -> None:
        self._joining.pop(runner_id, None)
        self.orders[runner_id] = order
        self._news.set()
        for view in joining.views:
            tracked = self.tracked.get(view.row.request_id)
            if tracked is not None:
                at = max(view.revision, revision_of(view.row.epoch, BEGUN_STEP))
                await self._or_report(tracked, at, self._bring_up(tracked, view))
        for event in joining.events:
            tracked = self.tracked.get(event.request_id)
            if tracked is not None:
                at = revision_of(event.epoch, event.sequence_number)
                await self._or_report(tracked, at, self._hear(tracked, runner_id, event))

    async def _hear(
        self, tracked: TrackedRequest, runner_id: str, event: job_event_pb2.JobEvent
    ) -> None:
        revision = revision_of(event.epoch, event.sequence_number)
        if event.transition == LEFT:
            if event.epoch >= parts_of(tracked.told).epoch:
                all_heard = parts_of(revision).position <= tracked.position
                tracked.settled = event.complete and all_heard
            return
        if revision <= tracked.told:
            return
        tracked.runner_id = runner_id
        try:
            if tracked.lacks_before(revision):
                await self._fill(tracked, revision_of(event.epoch, 0))
            if not tracked.is_running(event.epoch):
                number = event.sequence_number if event.transition == BEGUN else BEGUN_STEP
                row = begun(tracked.row, event, runner_id, self._feeds.address(runner_id))
                await self._tell_request(tracked, row, revision_of(event.epoch, number))
            if tracked.lacks_before(revision):
                await self._fill(tracked, revision)
        except Exception:
            tracked.reached(revision)
            raise
        tracked.reached(revision)
        if event.transition != BEGUN:
            counted = tracked.counts_move(event.counts.finished, event.counts.rolled_back)
            self._tell(tracked, job_change(tracked.row, event, counted=counted))

    async def _bring_up(self, tracked: TrackedRequest, view: RequestSnapshot) -> None:
        """Tell how a request is that runs, since not all that its runner told was heard."""
        at = max(view.revision, revision_of(view.row.epoch, BEGUN_STEP))
        if at <= tracked.told:
            return
        tracked.runner_id = view.row.runner_id
        before, tracked.row = tracked.row.state, view.row
        try:
            if tracked.told:
                await self._fill(tracked, at)
            else:
                await self._lead_up(tracked, at)
        except Exception:
            tracked.reached(at)
            raise
        tracked.reached(at)
        self._tell(tracked, replace(view, revision=at).snapshot_change(before))

    # What changes in the database

    async def tell_rows(self, snapshot: str, rows: Sequence[Request]) -> None:
        """Tell changes of requests that became visible in a snapshot."""
        async with self._together():
            self.seen = snapshot
            for row in rows:
                tracked = self.tracked.get(row.request_id)
                if tracked is not None:
                    at = row_revision(row) or revision_of(row.epoch, BEGUN_STEP)
                    await self._or_report(tracked, at, self._tell_row(tracked, row))

    def awaits(self, row: Request) -> bool:
        """Whether a runner is still to tell what comes before a changed row."""
        tracked = self.tracked.get(row.request_id)
        if tracked is None or row.state is State.PENDING:
            return False
        if not self._feeds.hears(tracked.runner_id):
            return False
        if row.state is State.RUNNING:
            return not tracked.is_running(row.epoch)
        return row_revision(row) > tracked.told and tracked.lacks(row)

    async def _tell_row(self, tracked: TrackedRequest, row: Request) -> None:
        if row.state in FINAL:
            del self.tracked[row.request_id]
        is_running = row.state is State.RUNNING
        revision = row_revision(row) or revision_of(row.epoch, BEGUN_STEP)
        if revision <= tracked.told or (is_running and tracked.is_running(row.epoch)):
            return
        if row.state is State.PENDING and tracked.told:
            return
        try:
            if tracked.told and tracked.lacks(row):
                await self._fill(tracked, revision)
            await self._tell_request(tracked, row, revision)
        finally:
            tracked.row, tracked.told = row, max(tracked.told, revision)
            tracked.settled = not is_running

    # Telling

    @asynccontextmanager
    async def _together(self) -> AsyncIterator[None]:
        """What is told within is one piece: each watcher has all of it at once."""
        async with self._turn:
            try:
                yield
            finally:
                self._hand_out()

    def _hand_out(self) -> None:
        piece, self._piece = self._piece, []
        for one in piece:
            for watcher in (*one.tracked.watchers, *(self.of_all if one.for_all else ())):
                watcher.put(one.change)
        if piece and self.of_all:
            mark = Checkpoint(self.cursor.text)
            for watcher in self.of_all:
                watcher.mark(mark)

    def _tell(self, tracked: TrackedRequest, change: EncodedEvent) -> None:
        tracked.told = max(tracked.told, change.revision)
        self._piece.append(_Delivery(tracked, change))

    async def _tell_request(self, tracked: TrackedRequest, row: Request, revision: int) -> None:
        """A new state; as a snapshot if it is the first that is told to those who watch all."""
        before, tracked.row = tracked.row.state, row
        if tracked.told or not self.of_all:
            finished = tracked.finished_jobs
            self._tell(tracked, request_change(row, before, revision, finished))
            return
        if tracked.args is not None and not parts_of(revision).position:
            view = RequestSnapshot(row, revision, tracked.args)
        else:
            await self._lead_up(tracked, revision)
            view = await self._views.stored(row, revision)
        self._tell(tracked, view.snapshot_change(before))

    async def _fill(self, tracked: TrackedRequest, until: int) -> None:
        """Tell what stands in the journal before a revision and was not heard of a runner."""
        async for entry in self._views.entries(tracked.row.request_id, tracked.position):
            change = entry_change(tracked.row, entry)
            if change.revision >= until:
                break
            if change.revision > tracked.told:
                self._tell(tracked, change)
            tracked.position = max(tracked.position, entry.position)

    async def _lead_up(self, tracked: TrackedRequest, until: int) -> None:
        """Send the ends of tries before a first snapshot to subscribers of this very request.

        They began with a snapshot of their own, perhaps of an earlier revision, and the new one has
        only the last try of each job. Each drops what is not above the revision that it has.
        """
        if not tracked.watchers:
            return
        async for entry in self._views.entries(tracked.row.request_id, 0):
            change = entry_change(tracked.row, entry)
            if change.revision >= until:
                break
            self._piece.append(_Delivery(tracked, change, for_all=False))

    async def _or_report(
        self, tracked: TrackedRequest, revision: int, telling: Awaitable[None]
    ) -> None:
        """Tell something of a request, up to a revision; if that fails it counts as told.

        A failure of that request alone is reported in its place. Any other one ends all streams,
        and their clients come again for what they lack. If it is cancelled, since its runner is
        gone, only what was told counts as told.
        """
        try:
            await telling
        except Exception as cause:  # noqa: BLE001 # one request must not hold up all others
            try:
                failure = request_failure(tracked.row.request_id, cause)
            except SpinCycleError as of_all:
                self.end_all(of_all)
                return
            at = max(revision, tracked.told)
            self._tell(tracked, request_change(tracked.row, None, at, failure=failure))

    def end_all(self, failure: SpinCycleError) -> None:
        """Let everybody come again from where he is: not all can be told now."""
        watchers = self.of_all.union(*(one.watchers for one in self.tracked.values()))
        if watchers:
            structlog.get_logger().warning(
                "streams end", watchers=len(watchers), why=failure.message
            )
        for watcher in watchers:
            watcher.end(failure)
