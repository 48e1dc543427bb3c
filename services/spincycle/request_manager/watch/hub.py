"""Where all that changes comes together, once, for all who watch at this request manager."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from spincycle.batching.single_flight import SingleFlight
from spincycle.errors import ShuttingDown
from spincycle.internal.v1 import job_event_pb2
from spincycle.model.state import FINAL
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.change_poller import ChangePoller
from spincycle.request_manager.watch.cursor import Cursor
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.sequencer import EventSequencer
from spincycle.request_manager.watch.snapshots import RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import Checkpoint, SubscriberQueue
from spincycle.request_manager.watch.tracked_request import TrackedRequest, unseen
from spincycle.runtime.process import supervise

SHUTDOWN_TIMEOUT = 1.0
"""Seconds that a runner has to tell the rest of a chain of which the end is known."""

VIEWED_AT_ONCE = 100
"""Requests whose jobs are held in memory at once when somebody begins to watch all."""

PATIENCE = 3.0
"""Seconds that this request manager has to hear of runners what somebody else has heard."""


class Hub:
    """Knows who watches what, and lets a teller know what changed; only while somebody watches."""

    def __init__(
        self, store: ChangeStore, feeds: RunnerFeeds, changes: ChangeBus, views: RequestSnapshots
    ) -> None:
        self._store = store
        self._feeds = feeds
        self._changes = changes
        self._views = views
        self._orders = SingleFlight[None, dict[str, int]](lambda _: self._feeds.orders())
        self._starting = asyncio.Lock()
        self._tracking = asyncio.Lock()
        self._watching = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._reset()

    def _reset(self) -> None:
        self._teller = EventSequencer(self._feeds, self._views)
        self._looking = ChangePoller(self._store, self._changes, self._is_watched, self._learn)

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
                await self._stop()

    # Who watches

    def track(self, watcher: SubscriberQueue, row: Request) -> None:
        """Let a watcher have all that is told of a request from now on."""
        of_all, all_tracked = self._teller.of_all, self._teller.tracked
        tracked = all_tracked.get(row.request_id)
        if tracked is None:
            # Who watches all has not been told of it yet, or it would be tracked.
            as_told = unseen(row) if of_all else row
            tracked = all_tracked[row.request_id] = TrackedRequest(as_told, runner_id=row.runner_id)
        tracked.watchers.add(watcher)

    def forget(self, watcher: SubscriberQueue, request_ids: Iterable[str]) -> None:
        """Take back `track`."""
        for request_id in request_ids:
            tracked = self._teller.tracked.get(request_id)
            if tracked is not None:
                tracked.watchers.discard(watcher)
                self._drop_if_unwatched(request_id)

    def _has_ended(self, request_id: str) -> None:
        """Nobody who watches all waits for a request: its end may have been told before."""
        tracked = self._teller.tracked.get(request_id)
        if tracked is not None:
            tracked.for_all = False
            self._drop_if_unwatched(request_id)

    def _drop_if_unwatched(self, request_id: str) -> None:
        tracked = self._teller.tracked[request_id]
        if not tracked.watchers and not (tracked.for_all and self._teller.of_all):
            del self._teller.tracked[request_id]

    async def listen_to(self, rows: Iterable[Request]) -> None:
        """Hear the runners of requests, also those that came just now.

        Raises:
            DatabaseUnavailable: it is not known who they are.
        """
        if any(row.runner_id and not self._feeds.knows(row.runner_id) for row in rows):
            await self._feeds.refresh(self, anew=True)

    async def track_all(self, watcher: SubscriberQueue) -> None:
        """Let a watcher have all that is told of any request from now on."""
        if not self._teller.of_all:
            # What changed before may not have been looked at, as nobody watched it.
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._looking.now()
        async with self._tracking:
            teller = self._teller
            is_first = not teller.of_all
            teller.of_all.add(watcher)
            if is_first:
                rows = await self._views.live()
                await self.listen_to(rows)
                for row in rows:
                    new = TrackedRequest(row, runner_id=row.runner_id)
                    teller.tracked.setdefault(row.request_id, new).for_all = True
                for start in range(0, len(rows), VIEWED_AT_ONCE):
                    for view in await self._views.now_all(rows[start : start + VIEWED_AT_ONCE], {}):
                        await teller.know(view.row, view.revision)
                        if view.row.state in FINAL:
                            self._has_ended(view.row.request_id)
            self._looking.soon()

    def forget_all(self, watcher: SubscriberQueue) -> None:
        """Take back `track_all`."""
        self._teller.of_all.discard(watcher)
        if not self._teller.of_all:
            for request_id in list(self._teller.tracked):
                self._drop_if_unwatched(request_id)

    async def known(self, row: Request, told: int) -> None:
        """The first who watches a request was told how it is, at a revision."""
        if not self._teller.of_all:
            await self._teller.know(row, told)

    async def begin_after(
        self, watchers: Iterable[SubscriberQueue], orders: Mapping[str, int]
    ) -> tuple[Cursor, dict[str, Request]]:
        """Drop what waits for watchers; answers where that ends, and live requests as told there.

        It is after all that was committed, and all that runners told, before the call, if they
        can be heard; and after an order of each.
        """
        async with self._after(orders):
            for watcher in watchers:
                watcher.clear()
            tracked = self._teller.tracked.items()
            return self._teller.cursor, {id_: one.row for id_, one in tracked if one.told}

    async def mark(self, watcher: SubscriberQueue) -> Checkpoint:
        """Put a mark into a watcher's queue, after all that happened before the call."""
        async with self._after({}):
            mark = Checkpoint(self._teller.cursor.text)
            watcher.mark(mark)
            return mark

    @asynccontextmanager
    async def _after(self, orders: Mapping[str, int]) -> AsyncIterator[None]:
        await self._looking.now()
        await self._looking.rows.join()
        # What led to what is committed was told by then, though it may not have come here yet.
        orders = {**orders, **await self._orders.get(None)}
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._teller.until(partial(self._has_heard, orders))
        async with self._teller.silence():
            yield

    def _has_heard(self, orders: Mapping[str, int]) -> bool:
        return all(
            self._teller.orders.get(runner_id, -1) >= order
            for runner_id, order in orders.items()
            if self._feeds.knows(runner_id)
        )

    # What is heard

    async def began(self, runner_id: str, order: int, here: Sequence[str] | None) -> None:
        """The stream of a runner begins. See Hearer."""
        if here is not None:
            await self._learn_of(here)
            await self._teller.began(runner_id, order, here)

    def gone(self, runner_id: str) -> None:
        """A runner is gone. See Hearer."""
        self._teller.gone(runner_id)

    async def heard(self, runner_id: str, events: Sequence[job_event_pb2.JobEvent]) -> None:
        """A runner told something. See Hearer."""
        await self._learn_of({event.request_id for event in events})
        await self._teller.heard(runner_id, events)

    async def _learn_of(self, request_ids: Iterable[str]) -> None:
        if self._teller.of_all and any(id_ not in self._teller.tracked for id_ in request_ids):
            await self._looking.now()

    def _is_watched(self, request_id: str) -> bool:
        return bool(self._teller.of_all) or request_id in self._teller.tracked

    async def _learn(self, rows: Sequence[Request], anything: bool) -> None:
        """Know what will be told of: new requests, and new runners."""
        if anything:
            await self._feeds.refresh(self, anew=True)
        await self.listen_to(rows)
        of_all, all_tracked = self._teller.of_all, self._teller.tracked
        new = [row for row in rows if row.request_id not in all_tracked] if of_all else []
        for row in rows:
            tracked = all_tracked.get(row.request_id)
            if tracked is not None:
                tracked.for_all |= bool(of_all)
                tracked.runner_id = row.runner_id or tracked.runner_id
        args = await self._store.args([row.request_id for row in new]) if new else {}
        for row in new:
            known = TrackedRequest(
                unseen(row), runner_id=row.runner_id, args=args.get(row.request_id)
            )
            all_tracked.setdefault(row.request_id, known).for_all = True

    async def _tell_rows(self) -> None:
        """Tell changes of requests, each when its runner has told all before it."""
        while True:
            snapshot, rows = await self._looking.rows.get()
            with suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                    await self._teller.until(partial(self._are_due, rows))
            await self._teller.tell_rows(snapshot, rows)
            self._looking.rows.task_done()

    def _are_due(self, rows: Sequence[Request]) -> bool:
        return not any(map(self._teller.awaits, rows))

    # Coming and going

    async def _start(self) -> None:
        self._reset()
        self._teller.seen = await self._looking.begin()
        try:
            await self._feeds.refresh(self)
        except BaseException:
            self._looking.end()
            raise
        self._tasks = [
            asyncio.create_task(supervise("looking at changes", self._looking.run)),
            asyncio.create_task(supervise("telling changes", self._tell_rows)),
        ]
        await self._feeds.begun()

    async def _stop(self) -> None:
        # All is told to end before anything is waited for: who is the last to leave may be cut off
        # meanwhile, and whoever comes next starts anew.
        self._looking.end()
        for task in self._tasks:
            task.cancel()
        self._ending.update(self._tasks, self._feeds.close())
        self._tasks = []
        self._reset()
        while self._ending:
            done, _ = await asyncio.wait(self._ending)
            self._ending -= done

    async def close(self) -> None:
        """End all streams; who watches is told to go to another copy."""
        self._teller.end_all(ShuttingDown("the request manager"))
        await self._stop()
