"""The parts that all current subscribers share, and how a subscriber is connected to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial

from spincycle.batching.single_flight import SingleFlight
from spincycle.errors import SpinCycleError
from spincycle.model.state import FINAL
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.assignment_check import AssignmentCheck
from spincycle.request_manager.watch.change_poller import ChangePoller
from spincycle.request_manager.watch.cursor import Cursor
from spincycle.request_manager.watch.discovery import RequestDiscovery
from spincycle.request_manager.watch.registry import SubscriptionRegistry
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.sequencer import EventSequencer
from spincycle.request_manager.watch.snapshots import RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import Checkpoint, SubscriberQueue
from spincycle.request_manager.watch.tracked_request import TrackedRequest
from spincycle.runtime.process import supervise

SNAPSHOT_BATCH = 100
"""Requests whose jobs are held in memory at once when the first filter subscriber starts."""

BARRIER_TIMEOUT = 3.0
"""Seconds to wait for events that runners have sent but that have not arrived here yet."""

POLL_TIMEOUT = 3.0
"""Seconds to wait for a poll before the first filter subscriber starts."""


class WatchSession:
    """Connects subscribers to the sequencer, from the first subscriber to the last.

    A session is started once and stopped once; Hub creates the next one.
    """

    def __init__(
        self,
        store: ChangeStore,
        feeds: RunnerFeeds,
        changes: ChangeBus,
        snapshots: RequestSnapshots,
    ) -> None:
        self._feeds = feeds
        self._snapshots = snapshots
        self._registry = SubscriptionRegistry()
        discovery = RequestDiscovery(store, feeds, self._registry)
        self._poller = ChangePoller(store, changes, self._registry, discovery)
        self._sequencer = EventSequencer(
            self._registry,
            feeds,
            snapshots,
            self._poller,
            AssignmentCheck(store, self._registry),
        )
        self._runner_offsets = SingleFlight[None, dict[str, int]](lambda _: feeds.offsets())
        self._attaching_filters = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to open the streams of the runners, and to read changes.

        Raises:
            DatabaseUnavailable: neither can be read.
        """
        self._sequencer.db_snapshot = await self._poller.start()
        await self._feeds.open(self._sequencer)
        self._tasks = [
            asyncio.create_task(supervise("polling changes", self._poller.run)),
            asyncio.create_task(supervise("publishing changes", self._sequencer.run)),
        ]

    def stop(self) -> list[asyncio.Task[None]]:
        """Stop all tasks; return them, as they are being cancelled."""
        self._poller.stop()
        for task in self._tasks:
            task.cancel()
        return [*self._tasks, *self._feeds.close()]

    def disconnect_all(self, failure: SpinCycleError) -> None:
        """End the stream of every subscriber with a failure."""
        self._sequencer.disconnect_all(failure)

    # Subscribers by id

    def subscribe(self, queue: SubscriberQueue, row: Request) -> None:
        """Send all further events of a request to a queue."""
        self._registry.subscribe(queue, row)

    def unsubscribe(self, queue: SubscriberQueue, request_ids: Iterable[str]) -> None:
        """Undo `subscribe` for these requests."""
        self._registry.unsubscribe(queue, request_ids)

    async def ensure_feeds(self, rows: Iterable[Request]) -> None:
        """Open the streams of the runners of these requests.

        Raises:
            DatabaseUnavailable: the live runners cannot be read.
        """
        await self._feeds.ensure_feeds(rows)

    async def mark_delivered(self, row: Request, revision: int) -> None:
        """Record that a subscriber by id received a snapshot of a request at a revision."""
        if not self._registry.filter_subscribers:
            await self._sequencer.mark_delivered(row, revision)

    # Subscribers by filter

    async def subscribe_filter(self, queue: SubscriberQueue) -> None:
        """Send all further events of all requests to a queue.

        Raises:
            DatabaseUnavailable: the live requests cannot be read.
        """
        if not self._registry.filter_subscribers:
            # Earlier changes may not have been polled, because no subscriber needed them.
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_TIMEOUT):
                    await self._poller.poll_now()
        async with self._attaching_filters:
            is_first = not self._registry.filter_subscribers
            self._registry.subscribe_filter(queue)
            if is_first:
                await self._track_live_requests()
            self._poller.request_poll()

    def unsubscribe_filter(self, queue: SubscriberQueue) -> None:
        """Undo `subscribe_filter`."""
        self._registry.unsubscribe_filter(queue)

    async def _track_live_requests(self) -> None:
        rows = await self._snapshots.live_requests()
        await self._feeds.ensure_feeds(rows)
        for row in rows:
            self._registry.track_for_filters(TrackedRequest(row, runner_id=row.runner_id))
        for start in range(0, len(rows), SNAPSHOT_BATCH):
            batch = rows[start : start + SNAPSHOT_BATCH]
            for snapshot in await self._snapshots.current(batch, {}):
                await self._sequencer.mark_delivered(snapshot.row, snapshot.revision)
                if snapshot.row.state in FINAL:
                    self._registry.release_from_filters(snapshot.row.request_id)

    # Barriers

    async def start_replay(
        self, queues: Iterable[SubscriberQueue], offsets: Mapping[str, int]
    ) -> tuple[Cursor, dict[str, Request]]:
        """Clear queues; return the cursor after what they held, and the live requests there.

        The cursor follows everything that was committed, and that connected runners sent,
        before this call; and these offsets of runners.
        """
        async with self._barrier(offsets):
            for queue in queues:
                queue.clear()
            live = {
                tracked.row.request_id: tracked.row
                for tracked in self._registry.tracked
                if tracked.delivered_revision
            }
            return self._sequencer.cursor, live

    async def put_checkpoint(self, queue: SubscriberQueue) -> Checkpoint:
        """Add a checkpoint to a queue, after everything that happened before this call."""
        async with self._barrier({}):
            checkpoint = Checkpoint(self._sequencer.cursor.text)
            queue.put_checkpoint(checkpoint)
            return checkpoint

    @asynccontextmanager
    async def _barrier(self, offsets: Mapping[str, int]) -> AsyncIterator[None]:
        """Wait until everything up to this call is published, then pause the sequencer."""
        await self._poller.poll_now()
        await self._poller.polled.join()
        # Runners have sent the events that precede committed changes, but these may be on the way.
        offsets = {**offsets, **await self._runner_offsets.get(None)}
        with suppress(TimeoutError):
            async with asyncio.timeout(BARRIER_TIMEOUT):
                await self._sequencer.wait_until(partial(self._has_reached, offsets))
        async with self._sequencer.paused():
            yield

    def _has_reached(self, offsets: Mapping[str, int]) -> bool:
        reached = self._sequencer.offsets
        return all(
            reached.get(runner_id, -1) >= offset
            for runner_id, offset in offsets.items()
            if self._feeds.has(runner_id)
        )
