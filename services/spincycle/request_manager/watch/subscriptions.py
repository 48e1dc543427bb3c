"""Following requests and their jobs: a snapshot first, then every change; see docs/streams.md.

What is answered are the bytes of WatchResponses: an event is encoded once for all its watchers.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing

from spincycle.batching.single_flight import SingleFlight
from spincycle.errors import CursorTooOld, InvalidInput, RequestNotFound
from spincycle.model import revision
from spincycle.model.state import FINAL, State
from spincycle.request_manager.storage.model import Request, RequestFilter
from spincycle.request_manager.storage.portions import in_portions
from spincycle.request_manager.storage.store import RequestStore
from spincycle.request_manager.watch.catch_up import CursorReplay
from spincycle.request_manager.watch.catch_up_round import ReplayPart, RoundExpired
from spincycle.request_manager.watch.cursor import Cursor, read_cursor, read_named_cursor
from spincycle.request_manager.watch.events import SYNCED, EncodedEvent, cursor_alone, matches
from spincycle.request_manager.watch.hub import Hub
from spincycle.request_manager.watch.live_requests import LiveRequests
from spincycle.request_manager.watch.named_subscription import IdSubscription
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots, Wanted
from spincycle.request_manager.watch.snapshots import RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import (
    Checkpoint,
    JobOutputChunk,
    SubscriberQueue,
)
from spincycle.request_manager.watch.watch_options import WatchOptions
from spincycle.rpc.limits import WITHIN_CLIENTS
from spincycle.v1 import job_chain_pb2

MAX_NAMED = 100
"""Most requests that one stream names."""

BEGINS_AT_ONCE = 8
"""Streams of named requests that begin at once; the others wait, however many come together."""

JOBS_AT_ONCE = 1000
"""Jobs of requests whose snapshots are made at once."""

SENT_AT_ONCE = 32 * 1024
"""Bytes after which a message ends where the stream can be taken up again."""

MAX_PIECE = 256 * 1024
"""Bytes of what was missed after which a message ends wherever it is; only a larger event makes
it larger. Later on it is WITHIN_CLIENTS."""

MAX_PASSED = 1000
"""Changes that pass a filter by after which its watcher is given a cursor all the same."""


ReadChain = Callable[[str], Awaitable[job_chain_pb2.JobChain]]
"""Reads the chain of a request."""


class Subscriptions:
    """Follows requests for many callers."""

    def __init__(
        self,
        store: RequestStore,
        hub: Hub,
        catching_up: CursorReplay,
        views: RequestSnapshots,
        shared: SharedSnapshots,
    ) -> None:
        self._store = store
        self._hub = hub
        self._catching_up = catching_up
        self._views = views
        self._shared = shared
        self._live = LiveRequests(store)
        self._chain = SingleFlight(views.chain).get
        self._begins = asyncio.Semaphore(BEGINS_AT_ONCE)

    async def named(
        self, request_ids: Sequence[str], options: WatchOptions, cursor: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """Every event of requests after a cursor, until all of them have ended.

        Raises:
            RequestNotFound: there is no such request.
            InvalidInput: the cursor is of another stream, or there are too many requests.
            CursorTooOld: the request is not as far as the cursor says.
            WatcherTooSlow: the caller did not keep up.
            DatabaseUnavailable, ServiceUnavailable: they cannot be followed now.
        """
        if len(request_ids) > MAX_NAMED or len(set(request_ids)) < len(request_ids):
            raise InvalidInput(
                f"up to {MAX_NAMED} requests can be watched by id at a time, each named once; "
                "watch by a filter instead",
                "request_ids",
            )
        named = IdSubscription(self._views, options, read_named_cursor(cursor, request_ids))
        watcher = SubscriberQueue()
        printing: list[asyncio.Task[None]] = []
        async with self._hub.watching():
            try:
                async with self._begins:
                    first = await self._begin(watcher, named, request_ids, cursor)
                for part in first[:-1]:
                    yield part
                if first or named.open:
                    yield b"".join(first[-1:]) + SYNCED
                if named.open:
                    if options.include_output:
                        printing = [
                            asyncio.create_task(self._views.put_output(request_id, watcher))
                            for request_id in named.open
                        ]
                    async for batch in watcher.batches():
                        parts = [await named.encoded(one) for one in batch]
                        for message in _messages(parts):
                            yield message
                        if not named.open:
                            return
            finally:
                self._hub.forget(watcher, request_ids)
                for task in printing:
                    task.cancel()
                await asyncio.gather(*printing, return_exceptions=True)

    async def _begin(
        self,
        watcher: SubscriberQueue,
        named: IdSubscription,
        request_ids: Sequence[str],
        cursor: str,
    ) -> list[bytes]:
        """Track requests for a watcher; answer what leads to how they are."""
        for row in await self._rows(request_ids):
            if row.state not in FINAL:
                self._hub.track(watcher, row)
        # Read again: from here on nothing that changes escapes the watcher.
        rows = await self._rows(request_ids)
        await self._hub.listen_to(rows)
        for row in rows:
            if named.expect(row.request_id) > revision.ended(row.epoch):
                raise CursorTooOld(cursor)
        first: list[bytes] = []
        for view in await self._views.now_all(rows, named.revisions):
            parts = [await named.told(change) async for change in named.first(view)]
            await self._hub.known(view.row, view.revision)
            first += _messages(parts)
        return first

    async def many(
        self, which: RequestFilter, options: WatchOptions, cursor: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """Changes of all requests that match, also of those to come, until cancelled.

        Raises:
            InvalidInput: the cursor is of another kind of stream.
            CursorTooOld: not all that came after the cursor is known any more.
            WatcherTooSlow: the caller did not keep up.
            DatabaseUnavailable, ServiceUnavailable: they cannot be followed now.
        """
        watcher = SubscriberQueue()
        many = FilterSubscription(self._chain, which, options)
        first = (
            self._missed(watcher, many, read_cursor(cursor)) if cursor else self._snapshots(many)
        )
        # It may be large, and a stream may last for days.
        del cursor
        async with self._hub.watching():
            try:
                await self._hub.track_all(watcher)
                async with aclosing(first):
                    async for message in first:
                        yield message
                begun = await self._hub.mark(watcher)
                async for batch in watcher.batches():
                    async for message in many.told(batch, begun):
                        yield message
            finally:
                self._hub.forget_all(watcher)

    async def _missed(
        self, watcher: SubscriberQueue, many: FilterSubscription, after: Cursor
    ) -> AsyncGenerator[bytes, None]:
        """What was missed after a cursor, with a cursor wherever it can be taken up again."""
        at: Cursor | None = None
        over: set[str] = set()
        while True:
            try:
                async with (
                    self._catching_up.round(watcher, after, with_args=many.needs_args) as catch_up,
                    aclosing(catch_up.missed(after, over)) as portions,
                ):
                    async for portion in portions:
                        if message := many.message_of(portion):
                            yield message
                        else:
                            async for message in many.add_all(portion):
                                yield message
                        at = portion.at
                        if at is None:
                            over |= portion.ended
                            continue
                        after, over = at, set()
                        if many.size > SENT_AT_ONCE:
                            yield many.take(at.text)
                break
            except RoundExpired:
                continue
        if at is not None:
            # Whoever is cut, as too much has happened meanwhile, has less to catch up.
            yield many.take(at.text)

    async def _snapshots(self, many: FilterSubscription) -> AsyncGenerator[bytes, None]:
        """How all requests are that have not ended."""
        beginning = await self._live.begin()
        for page in beginning.pages:
            rows = [row for row in await self._live.read(page) if many.wants(row, row.state)]
            for portion in in_portions(rows, lambda row: row.total_jobs, JOBS_AT_ONCE):
                wanted = [Wanted(row, since=("live", beginning.number)) for row in portion]
                for change in await self._shared.get(wanted):
                    if message := await many.add(change, change.request.state):
                        yield message
                if message := many.take():
                    yield message

    async def _rows(self, request_ids: Sequence[str]) -> list[Request]:
        found = await self._store.get(request_ids)
        for request_id in request_ids:
            if request_id not in found:
                raise RequestNotFound(request_id)
        return [found[request_id] for request_id in request_ids]


def _messages(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Events in messages that all clients take, unless one event alone is larger."""
    for some in in_portions(parts, len, WITHIN_CLIENTS):
        if message := b"".join(some):
            yield message


class FilterSubscription:
    """How far one watcher of all requests is.

    Attributes:
        size: bytes that wait to be taken.
    """

    def __init__(self, chain: ReadChain, which: RequestFilter, options: WatchOptions) -> None:
        self._chain = chain
        self._which = which
        self._options = options
        self._is_choosy = bool(
            options.include_job_chain or which.type or which.user or which.states or which.args
        )
        self._has_begun = False
        self._is_synced = False
        self._first: dict[str, int] = {}
        self._parts: list[bytes] = []
        self._passed = 0
        self.size = 0

    @property
    def needs_args(self) -> bool:
        """Whether the arguments that a request was given decide."""
        return bool(self._which.args)

    def wants(self, request: Request, before: State | None) -> bool:
        """Whether a change of a request is for this watcher."""
        return matches(request, before, self._which)

    async def add(
        self, change: EncodedEvent, before: State | None, *, is_over: bool = False
    ) -> bytes:
        """Take a change, unless it is not for this watcher or was told first.

        `is_over`: nothing more comes of its request. Answers what has to be sent before it, as
        both together are too large for a message.
        """
        self._passed += 1
        request_id = change.request.request_id
        if change.revision <= self._first.get(request_id, 0):
            return b""
        if self._has_begun:
            self._first.pop(request_id, None)
        elif not is_over:
            self._first[request_id] = change.revision
        if not self.wants(change.request, before):
            return b""
        if self._options.include_job_chain and change.is_snapshot:
            part = await change.with_chain(self._chain, "")
        else:
            part = change.encoded("", self._options.requests_only)
        return self._put(part)

    def message_of(self, portion: ReplayPart) -> bytes:
        """What was missed as a message that others are sent, too; empty if it has to be added."""
        requests_only = self._options.requests_only
        if self._parts or portion.at is None or not self._take_whole(portion, SENT_AT_ONCE):
            return b""
        return portion.encoded(requests_only, with_cursor=True)

    async def add_all(self, portion: ReplayPart) -> AsyncIterator[bytes]:
        """Take what was missed; yields what has to be sent before."""
        if self._take_whole(portion):
            if message := self._put(portion.encoded(self._options.requests_only)):
                yield message
            return
        for change in portion.changes:
            is_over = change.request.request_id in portion.ended
            if message := await self.add(change, change.before, is_over=is_over):
                yield message

    def _take_whole(self, portion: ReplayPart, least: int = -1) -> bool:
        """Take a portion of more than `least` bytes, if others get it as this watcher does."""
        if self._is_choosy or not least < portion.size(self._options.requests_only) <= MAX_PIECE:
            return False
        revisions = [(one.request.request_id, one.revision) for one in portion.open]
        if any(revision <= self._first.get(id_, 0) for id_, revision in revisions):
            return False
        self._first.update(revisions)
        return True

    def _put(self, part: bytes) -> bytes:
        limit = WITHIN_CLIENTS if self._has_begun else MAX_PIECE
        full = self.take() if self._parts and self.size + len(part) > limit else b""
        self._parts.append(part)
        self.size += len(part)
        return full

    def take(self, cursor: str = "") -> bytes:
        """What waits, and the cursor after it if there is one."""
        parts, self._parts, self.size = self._parts, [], 0
        if cursor:
            parts.append(cursor_alone(cursor))
        return b"".join(parts)

    async def told(
        self, batch: Iterable[EncodedEvent | Checkpoint | JobOutputChunk], begun: Checkpoint
    ) -> AsyncIterator[bytes]:
        """What is told at once: all of it, and a cursor; nothing if it can wait.

        What comes up to the mark `begun` may have been told first.
        """
        cursor = ""
        for one in batch:
            if isinstance(one, Checkpoint):
                if one is begun:
                    self._has_begun = True
                    self._passed = MAX_PASSED
                cursor = one.cursor
                if self._has_begun and self.size > SENT_AT_ONCE:
                    yield self._up_to(cursor)
            elif isinstance(one, EncodedEvent) and (message := await self.add(one, one.before)):
                yield message
        if self._has_begun and (self.size or self._passed >= MAX_PASSED):
            yield self._up_to(cursor)

    def _up_to(self, cursor: str) -> bytes:
        self._passed = 0
        synced, self._is_synced = b"" if self._is_synced else SYNCED, True
        return self.take(cursor) + synced
