"""Where all that changes comes together, once, for all who watch at this request manager."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import structlog

from spincycle.errors import ShuttingDown, SpinCycleError
from spincycle.process import keep_up
from spincycle.request_manager.change_store import ChangeStore, Seen
from spincycle.request_manager.changes import Changes
from spincycle.request_manager.cursor import Cursor, orders_text, seen_text
from spincycle.request_manager.feeds import Feeds
from spincycle.request_manager.looking import Looking
from spincycle.request_manager.model import Request
from spincycle.request_manager.told import Change, entry_change, job_change, request_change
from spincycle.request_manager.tracked import Tracked, begun, row_revision, unseen
from spincycle.request_manager.views import View, Views
from spincycle.request_manager.watcher import Mark, Watcher
from spincycle.revision import BEGUN_STEP, NUMBER_BITS, parts_of, revision_of
from spincycle.state import FINAL, State
from spincycle.v1 import event_pb2

LAST_WORDS = 1.0
"""Seconds that a runner has to tell the rest of a chain of which the end is known."""

BEGUN = event_pb2.CHAIN_MOMENT_BEGUN
LEFT = event_pb2.CHAIN_MOMENT_LEFT


class Hub:
    """Puts what runners and the database tell into one order, request by request.

    It works only while somebody watches. With `views` it asks for how a request is; what a
    runner took with it when it died it takes from the journal.
    """

    def __init__(self, store: ChangeStore, feeds: Feeds, changes: Changes, views: Views) -> None:
        self._store = store
        self._feeds = feeds
        self._changes = changes
        self._views = views
        self._starting = asyncio.Lock()
        self._telling = asyncio.Lock()
        self._watching = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._reset()

    def _reset(self) -> None:
        self.tracked: dict[str, Tracked] = {}
        self.of_all: set[Watcher] = set()
        self.seen = Seen("")
        self.orders: dict[str, int] = {}
        self._news = asyncio.Event()
        self._looking = Looking(self._store, self._changes, self._is_watched, self._learn)

    @property
    def cursor(self) -> str:
        """Where all that was told ends."""
        return seen_text(self.seen) + orders_text(self.orders)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Be at work.

        Raises:
            DatabaseUnavailable: nothing can be watched now.
        """
        self._watching += 1
        try:
            async with self._starting:
                if not self._tasks:
                    await self._start()
            yield
        finally:
            self._watching -= 1
            if not self._watching:
                async with self._starting:
                    if not self._watching:
                        await self._stop()

    def track(self, watcher: Watcher, row: Request) -> None:
        """Let a watcher have all that is told of a request from now on."""
        tracked = self.tracked.get(row.request_id)
        if tracked is None:
            # Who watches all has not been told of it yet, or it would be tracked.
            as_told = unseen(row) if self.of_all else row
            tracked = self.tracked[row.request_id] = Tracked(as_told, runner_id=row.runner_id)
        tracked.watchers.add(watcher)

    def forget(self, watcher: Watcher, request_ids: Iterable[str]) -> None:
        """Take back `track`."""
        for request_id in request_ids:
            tracked = self.tracked.get(request_id)
            if tracked is not None:
                tracked.watchers.discard(watcher)
                if not tracked.watchers and not self.of_all:
                    del self.tracked[request_id]

    async def track_all(self, watcher: Watcher) -> None:
        """Let a watcher have all that is told of any request from now on."""
        async with self._starting:
            first = not self.of_all
            self.of_all.add(watcher)
            if first:
                rows = await self._views.live()
                for row in rows:
                    new = Tracked(row, runner_id=row.runner_id)
                    self.tracked.setdefault(row.request_id, new)
                for view in await self._views.now_all(rows, {}):
                    await self._know(view.row, view.revision)
            self._looking.soon()

    def forget_all(self, watcher: Watcher) -> None:
        """Take back `track_all`."""
        self.of_all.discard(watcher)
        if not self.of_all:
            for request_id in [id_ for id_, one in self.tracked.items() if not one.watchers]:
                del self.tracked[request_id]

    async def mark(self, watcher: Watcher) -> Cursor:
        """Put a mark into a watcher's queue, between two changes; answers its place.

        All that was committed before the call comes before the mark.
        """
        await self._looking.now()
        await self._looking.rows.join()
        async with self._telling:
            watcher.mark(Mark(self.cursor))
            return Cursor(self.seen, dict(self.orders))

    def is_as_far_as(self, orders: Mapping[str, int]) -> bool:
        """Whether all was heard here of runners that can be heard that was heard elsewhere."""
        return all(
            self.orders.get(runner_id, order) >= order for runner_id, order in orders.items()
        )

    def running(self) -> list[Request]:
        """Requests that run, as far as was told."""
        return [one.row for one in self.tracked.values() if one.row.state is State.RUNNING]

    async def known(self, row: Request, told: int) -> None:
        """The first who watches a request was told how it is, at a revision."""
        if not self.of_all:
            await self._know(row, told)

    async def _know(self, row: Request, told: int) -> None:
        async with self._telling:
            tracked = self.tracked.get(row.request_id)
            # What others wait for must not be skipped: each watcher knows what he was told.
            if tracked is not None and not tracked.told:
                tracked.told, tracked.row = told, row
                tracked.settled = row.state is not State.RUNNING
                if row.state is State.RUNNING:
                    tracked.position = max(tracked.position, parts_of(told).position)

    # What is heard

    def _is_watched(self, request_id: str) -> bool:
        return bool(self.of_all) or request_id in self.tracked

    async def began(self, runner_id: str, order: int, *, gap: bool) -> None:
        """The stream of a runner begins. See Hearer."""
        async with self._telling:
            self.orders[runner_id] = order
            try:
                if gap:
                    await self._catch_up(runner_id)
            except SpinCycleError as failure:
                self.end_all(failure)

    def gone(self, runner_id: str) -> None:
        """A runner is gone. See Hearer."""
        self.orders.pop(runner_id, None)
        self._news.set()

    async def heard(self, runner_id: str, events: Sequence[event_pb2.JobEvent]) -> None:
        """A runner told something. See Hearer."""
        if self.of_all:
            unknown = {event.request_id for event in events} - self.tracked.keys()
            if unknown:
                await self._looking.now()
        async with self._telling:
            others = {id_: order for id_, order in self.orders.items() if id_ != runner_id}
            prefix = seen_text(self.seen) + orders_text(others) if self.of_all else ""
            for event in events:
                cursor = prefix and prefix + orders_text({runner_id: event.order})
                self.orders[runner_id] = event.order
                tracked = self.tracked.get(event.request_id)
                if tracked is None:
                    continue
                try:
                    await self._hear(tracked, runner_id, event, cursor)
                except SpinCycleError as failure:
                    self.end_all(failure)

    async def _hear(
        self, tracked: Tracked, runner_id: str, event: event_pb2.JobEvent, cursor: str
    ) -> None:
        revision = revision_of(event.epoch, event.sequence_number)
        told_epoch = tracked.told >> NUMBER_BITS
        if event.moment == LEFT:
            if event.epoch >= told_epoch:
                tracked.settled = event.all_told
                self._news.set()
            return
        if revision <= tracked.told:
            return
        if event.epoch > told_epoch and not tracked.settled:
            await self._fill(tracked, cursor, revision)
        tracked.settled = False
        tracked.runner_id = runner_id
        if not tracked.is_running(event.epoch):
            await self._tell_begin(tracked, runner_id, event, cursor)
            if event.moment != BEGUN:
                # The stream of the runner began after the chain.
                await self._fill(tracked, cursor, revision)
                tracked.settled = False
        tracked.position = parts_of(revision).position
        if event.moment != BEGUN:
            counted = tracked.counts_move(event.finished_jobs, event.rolled_back_jobs)
            self._tell(tracked, job_change(tracked.row, event, counted, cursor))

    async def _tell_begin(
        self, tracked: Tracked, runner_id: str, event: event_pb2.JobEvent, cursor: str
    ) -> None:
        row = tracked.row
        tracked.row = begun(row, event, runner_id, self._feeds.address(runner_id))
        number = event.sequence_number if event.moment == BEGUN else BEGUN_STEP
        revision = revision_of(event.epoch, number)
        await self._tell_request(tracked, tracked.row, row.state, revision, cursor)
        self._news.set()

    # What is told

    def _tell(self, tracked: Tracked, change: Change) -> None:
        tracked.told = max(tracked.told, change.revision)
        for watcher in tracked.watchers:
            watcher.put(change)
        for watcher in self.of_all:
            watcher.put(change)

    async def _tell_request(
        self, tracked: Tracked, row: Request, before: State, revision: int, cursor: str
    ) -> None:
        """A new state; as a snapshot if it is the first that is told of the request."""
        if tracked.told or (row.state is State.RUNNING and tracked.watchers):
            finished = tracked.finished_jobs
            self._tell(tracked, request_change(row, before, revision, cursor, finished))
            return
        if row.state in (State.PENDING, State.RUNNING) and tracked.args is not None:
            view = View(row, revision, tracked.args)
        else:
            view = await self._views.stored(row, revision)
        self._tell(tracked, view.snapshot_change(before, cursor))

    async def _fill(self, tracked: Tracked, cursor: str, until: int) -> None:
        """Tell what stands in the journal before a revision and was not heard of a runner."""
        async for entry in self._views.entries(tracked.row.request_id, tracked.position):
            change = entry_change(tracked.row, entry, cursor)
            if change.revision >= until:
                break
            if change.revision > tracked.told:
                self._tell(tracked, change)
            tracked.position = max(tracked.position, entry.position)
        tracked.settled = True

    async def _catch_up(self, runner_id: str) -> None:
        """Bring what is told of a runner's requests to how they are."""
        for tracked in list(self.tracked.values()):
            if tracked.runner_id == runner_id and tracked.told and tracked.row.state not in FINAL:
                await self._bring_up(tracked, tracked.row, "")

    async def _bring_up(self, tracked: Tracked, row: Request, cursor: str) -> None:
        """Tell how a request is that runs, since not all that its runner told was heard."""
        view = await self._views.now(row)
        at = max(view.revision, revision_of(view.row.epoch, BEGUN_STEP))
        if at <= tracked.told or view.row.state is not State.RUNNING:
            return
        await self._fill(tracked, cursor, at)
        before, tracked.row = tracked.row.state, view.row
        self._tell(tracked, replace(view, revision=at).snapshot_change(before, cursor))
        tracked.settled = False
        tracked.position = max(tracked.position, parts_of(at).position)

    # What changes in the database

    async def _learn(self, rows: Sequence[Request], anything: bool) -> None:
        """Know what will be told of: new requests, and new runners."""
        runner_ids = {row.runner_id for row in rows if row.runner_id}
        if anything or any(not self._feeds.knows(id_) for id_ in runner_ids):
            await self._feeds.refresh(self, anew=True)
        new = [row for row in rows if row.request_id not in self.tracked] if self.of_all else []
        args = await self._store.args([row.request_id for row in new]) if new else {}
        for row in new:
            known = Tracked(unseen(row), runner_id=row.runner_id, args=args.get(row.request_id))
            self.tracked.setdefault(row.request_id, known)
        for row in rows:
            tracked = self.tracked.get(row.request_id)
            if tracked is not None:
                tracked.runner_id = row.runner_id or tracked.runner_id

    async def _tell_rows(self) -> None:
        """Tell changes of requests, each when its runner has told all before it."""
        while True:
            snapshot, rows = await self._looking.rows.get()
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self._until_left([changed.request for changed in rows])
            async with self._telling:
                orders = orders_text(self.orders)
                for place, changed in enumerate(rows, 1):
                    half = Seen(
                        self.seen.snapshot, snapshot, changed.change, changed.request.request_id
                    )
                    so_far = half if place < len(rows) else Seen(snapshot)
                    cursor = seen_text(so_far) + orders if self.of_all else ""
                    try:
                        await self._tell_row(changed.request, cursor)
                    except SpinCycleError as failure:
                        self.end_all(failure)
                self.seen = Seen(snapshot)
            self._looking.rows.task_done()

    async def _tell_row(self, row: Request, cursor: str) -> None:
        tracked = self.tracked.get(row.request_id)
        revision = row_revision(row)
        if tracked is None:
            return
        if row.state is State.RUNNING and not tracked.is_running(row.epoch):
            await self._bring_up(tracked, row, cursor)
        if revision <= tracked.told:
            return
        if row.state is State.PENDING and tracked.told:
            return
        if tracked.told and tracked.lacks(row):
            await self._fill(tracked, cursor, revision)
        before, tracked.row = tracked.row.state, row
        await self._tell_request(tracked, row, before, revision, cursor)
        tracked.settled = True
        if row.state in FINAL:
            self.tracked.pop(row.request_id, None)

    async def _until_left(self, rows: Sequence[Request]) -> None:
        told_by_runners = [row for row in rows if row.state is not State.PENDING]
        while any(self._is_awaited(row) for row in told_by_runners):
            self._news.clear()
            await self._news.wait()

    def _is_awaited(self, row: Request) -> bool:
        tracked = self.tracked.get(row.request_id)
        if tracked is None or not self._feeds.hears(tracked.runner_id):
            return False
        if row.state is State.RUNNING:
            return not tracked.is_running(row.epoch)
        return row_revision(row) > tracked.told and tracked.lacks(row)

    def end_all(self, failure: SpinCycleError) -> None:
        """Let everybody come again from where he is: not all can be told now."""
        watchers = self.of_all.union(*(one.watchers for one in self.tracked.values()))
        if watchers:
            structlog.get_logger().warning(
                "streams end", watchers=len(watchers), why=failure.message
            )
        for watcher in watchers:
            watcher.end(failure)

    # Coming and going

    async def _start(self) -> None:
        self._reset()
        self.seen = await self._looking.begin()
        try:
            await self._feeds.refresh(self)
        except SpinCycleError:
            self._looking.end()
            raise
        self._tasks = [
            asyncio.create_task(keep_up("looking at changes", self._looking.run)),
            asyncio.create_task(keep_up("telling changes", self._tell_rows)),
        ]
        await self._feeds.begun()

    async def _stop(self) -> None:
        self._looking.end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._feeds.close()
        self._reset()

    async def close(self) -> None:
        """End all streams; who watches is told to go to another copy."""
        self.end_all(ShuttingDown("the request manager"))
        await self._stop()
