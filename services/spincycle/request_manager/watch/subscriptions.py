"""Streams of Watch events: a snapshot or a replay first, then every event.

The streams yield encoded WatchResponses, because an event is encoded once for all subscribers.
docs/explanation/streams.md has the promises.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing

from spincycle.batching.single_flight import SingleFlight
from spincycle.errors import CursorTooOld, InvalidInput, RequestNotFound
from spincycle.model import revision
from spincycle.model.state import FINAL
from spincycle.request_manager.storage.model import Request, RequestFilter
from spincycle.request_manager.storage.portions import in_portions
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.request_manager.watch.cursor import Cursor, parse_cursor, parse_id_cursor
from spincycle.request_manager.watch.cursor_replay import CursorReplay
from spincycle.request_manager.watch.events import SYNCED
from spincycle.request_manager.watch.filter_subscription import FilterSubscription
from spincycle.request_manager.watch.hub import Hub
from spincycle.request_manager.watch.id_subscription import IdSubscription
from spincycle.request_manager.watch.live_requests import LiveRequests
from spincycle.request_manager.watch.replay_round import RoundExpired
from spincycle.request_manager.watch.session import WatchSession
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots, SnapshotKey
from spincycle.request_manager.watch.snapshots import RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue
from spincycle.request_manager.watch.watch_options import WatchOptions
from spincycle.rpc.limits import CLIENT_MESSAGE_BYTES

MAX_REQUEST_IDS = 100
"""Most requests that one stream names."""

CONCURRENT_STARTS = 8
"""Streams of named requests that start concurrently; others wait."""

SNAPSHOT_JOBS = 1000
"""Jobs whose snapshots are made at once for a stream without a cursor."""


class Subscriptions:
    """Opens the streams of Watch events."""

    def __init__(
        self,
        store: RequestStore,
        hub: Hub,
        replay: CursorReplay,
        snapshots: RequestSnapshots,
        shared: SharedSnapshots,
    ) -> None:
        self._store = store
        self._hub = hub
        self._replay = replay
        self._snapshots = snapshots
        self._shared = shared
        self._live = LiveRequests(store)
        self._chain = SingleFlight(snapshots.chain).get
        self._starts = asyncio.Semaphore(CONCURRENT_STARTS)

    async def by_ids(
        self, request_ids: Sequence[str], options: WatchOptions, cursor: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """Yield every event of named requests after a cursor, until all of them have ended.

        Raises:
            RequestNotFound: a request does not exist, or the caller may not view it.
            InvalidInput: the cursor is of another stream, or there are too many requests.
            CursorTooOld: the cursor is ahead of a request.
            WatcherTooSlow: the caller did not keep up.
            DatabaseUnavailable, ServiceUnavailable: the requests cannot be read.
        """
        if len(request_ids) > MAX_REQUEST_IDS or len(set(request_ids)) < len(request_ids):
            raise InvalidInput(
                f"a stream takes up to {MAX_REQUEST_IDS} different request ids; "
                "use a filter to watch more",
                "request_ids",
            )
        revisions = parse_id_cursor(cursor, request_ids)
        subscription = IdSubscription(self._snapshots, options, revisions)
        queue = SubscriberQueue()
        forwarders: list[asyncio.Task[None]] = []
        async with self._hub.session() as session:
            try:
                async with self._starts:
                    first = await self._start(session, queue, subscription, request_ids, cursor)
                for message in first[:-1]:
                    yield message
                if first or subscription.open:
                    yield b"".join(first[-1:]) + SYNCED
                if subscription.open:
                    if options.include_output:
                        forwarders = [
                            asyncio.create_task(self._snapshots.forward_output(request_id, queue))
                            for request_id in subscription.open
                        ]
                    async for batch in queue.batches():
                        parts = [await subscription.encode(item) for item in batch]
                        for message in _messages(parts):
                            yield message
                        if not subscription.open:
                            return
            finally:
                session.unsubscribe(queue, request_ids)
                for task in forwarders:
                    task.cancel()
                await asyncio.gather(*forwarders, return_exceptions=True)

    async def _start(
        self,
        session: WatchSession,
        queue: SubscriberQueue,
        subscription: IdSubscription,
        request_ids: Sequence[str],
        cursor: str,
    ) -> list[bytes]:
        """Subscribe a queue to requests; return the messages with their events so far."""
        viewable = subscription.viewable_types
        for row in await self._rows(request_ids, viewable):
            if row.state not in FINAL:
                session.subscribe(queue, row)
        # Read again: from here on the queue receives every change.
        rows = await self._rows(request_ids, viewable)
        await session.ensure_feeds(rows)
        for row in rows:
            if subscription.add_request(row.request_id) > revision.ended(row.epoch):
                raise CursorTooOld(cursor)
        first: list[bytes] = []
        for snapshot in await self._snapshots.current(rows, subscription.revisions):
            parts = [
                await subscription.encode_event(event)
                async for event in subscription.first_events(snapshot)
            ]
            await session.mark_delivered(snapshot.row, snapshot.revision)
            first += _messages(parts)
        return first

    async def by_filter(
        self, which: RequestFilter, options: WatchOptions, cursor: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events of all requests that match a filter, including later requests.

        Raises:
            InvalidInput: the cursor is of another kind of stream.
            CursorTooOld: some events after the cursor are no longer available.
            WatcherTooSlow: the caller did not keep up.
            DatabaseUnavailable, ServiceUnavailable: the requests cannot be read.
        """
        after = parse_cursor(cursor) if cursor else None
        # It may be large, and a stream may last for days.
        del cursor
        queue = SubscriberQueue()
        subscription = FilterSubscription(self._chain, which, options)
        async with self._hub.session() as session:
            try:
                await session.subscribe_filter(queue)
                first = (
                    self._missed(session, queue, subscription, after)
                    if after is not None
                    else self._live_snapshots(subscription)
                )
                after = None
                async with aclosing(first):
                    async for message in first:
                        yield message
                checkpoint = await session.put_checkpoint(queue)
                async for batch in queue.batches():
                    async for message in subscription.encode(batch, checkpoint):
                        yield message
            finally:
                session.unsubscribe_filter(queue)

    async def _missed(
        self,
        session: WatchSession,
        queue: SubscriberQueue,
        subscription: FilterSubscription,
        after: Cursor,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events after a cursor, with a cursor wherever the stream can be resumed."""
        at: Cursor | None = None
        ended: set[str] = set()
        while True:
            try:
                async with (
                    self._replay.round(
                        session, queue, after, with_args=subscription.needs_args
                    ) as one,
                    aclosing(one.parts(after, ended)) as parts,
                ):
                    async for part in parts:
                        if message := subscription.message_of(part):
                            yield message
                        else:
                            async for message in subscription.add_part(part):
                                yield message
                        at = part.at
                        if at is None:
                            ended |= part.ended
                            continue
                        after, ended = at, set()
                        if subscription.needs_flush:
                            yield subscription.take(at.text)
                break
            except RoundExpired:
                continue
        if at is not None:
            # A subscriber that is disconnected for falling behind has less to replay then.
            yield subscription.take(at.text)

    async def _live_snapshots(
        self, subscription: FilterSubscription
    ) -> AsyncGenerator[bytes, None]:
        """Yield snapshots of all requests that have not ended."""
        live = await self._live.find()
        for page in live.pages:
            rows = [
                row for row in await self._live.read(page) if subscription.selects(row, row.state)
            ]
            for portion in in_portions(rows, lambda row: row.total_jobs, SNAPSHOT_JOBS):
                keys = [SnapshotKey(row, since=("live", live.number)) for row in portion]
                for event in await self._shared.get(keys):
                    if message := await subscription.add(event, event.request.state):
                        yield message
                if message := subscription.take():
                    yield message

    async def _rows(
        self, request_ids: Sequence[str], viewable: frozenset[str] | None
    ) -> list[Request]:
        found = await self._store.get(request_ids)
        for request_id in request_ids:
            row = found.get(request_id)
            if row is None or (viewable is not None and row.type not in viewable):
                raise RequestNotFound(request_id)
        return [found[request_id] for request_id in request_ids]


def _messages(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield messages that all clients accept, unless one event alone is larger."""
    for portion in in_portions(parts, len, CLIENT_MESSAGE_BYTES):
        if message := b"".join(portion):
            yield message
