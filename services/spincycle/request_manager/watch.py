"""Following requests and their jobs: a snapshot first, then every change; see docs/streams.md.

What is answered are the bytes of WatchResponses: an event is encoded once for all its watchers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from spincycle import revision
from spincycle.errors import CursorTooOld, InvalidInput, RequestNotFound
from spincycle.request_manager.catching_up import CatchingUp
from spincycle.request_manager.cursor import read_cursor, read_named_cursor
from spincycle.request_manager.hub import Hub
from spincycle.request_manager.model import Request, RequestFilter
from spincycle.request_manager.store import RequestStore
from spincycle.request_manager.told import (
    Change,
    cursor_alone,
    entry_change,
    matches,
    output_event,
    request_change,
    runner_changes,
)
from spincycle.request_manager.unreadable import request_failure
from spincycle.request_manager.views import View, Views
from spincycle.request_manager.watcher import Mark, Printed, Watcher
from spincycle.state import FINAL, State

MAX_NAMED = 100
"""Most requests that one stream names."""

BEGINS_AT_ONCE = 8
"""Streams of named requests that begin at once; the others wait, however many come together."""

TURN = 10.0
"""Seconds that a stream of all requests has to begin before the next one begins, too."""

SNAPSHOTS_AT_ONCE = 100
"""Requests whose snapshots are made at once."""

MAX_PIECE = 1024 * 1024
"""Bytes that were missed beyond which they are told in several messages."""

MAX_PASSED = 1000
"""Changes that pass a filter by after which its watcher is given a cursor all the same."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What a watcher wants to see."""

    include_job_chain: bool = False
    requests_only: bool = False
    include_output: bool = False


class Watch:
    """Follows requests for many callers."""

    def __init__(
        self, store: RequestStore, hub: Hub, catching_up: CatchingUp, views: Views
    ) -> None:
        self._store = store
        self._hub = hub
        self._catching_up = catching_up
        self._views = views
        self._begins = asyncio.Semaphore(BEGINS_AT_ONCE)
        self._turn = asyncio.Lock()

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
        named = _Named(self._views, options, read_named_cursor(cursor, request_ids))
        watcher = Watcher()
        printing: list[asyncio.Task[None]] = []
        async with self._hub.watching():
            try:
                async with self._begins:
                    first = await self._begin(watcher, named, request_ids, cursor)
                for part in first:
                    yield part
                if named.open:
                    if options.include_output:
                        printing = [
                            asyncio.create_task(self._views.put_output(request_id, watcher))
                            for request_id in named.open
                        ]
                    async for batch in watcher.batches():
                        parts = [await named.encoded(one) for one in batch]
                        if any(parts):
                            yield b"".join(parts)
                        if not named.open:
                            return
            finally:
                self._hub.forget(watcher, request_ids)
                for task in printing:
                    task.cancel()
                await asyncio.gather(*printing, return_exceptions=True)

    async def _begin(
        self, watcher: Watcher, named: _Named, request_ids: Sequence[str], cursor: str
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
            if any(parts):
                first.append(b"".join(parts))
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
        after = read_cursor(cursor) if cursor else None
        watcher = Watcher()
        many = _Many(self._views, which, options)
        async with self._hub.watching(), AsyncExitStack() as beginning_alone:
            try:
                # One after another, so that each has begun before much has happened meanwhile.
                await beginning_alone.enter_async_context(self._its_turn())
                await self._hub.track_all(watcher)
                if after is None:
                    async for change in self._snapshots(many):
                        await many.add(change)
                        yield many.take()
                else:
                    missed, until = await self._catching_up.run(watcher, after, cursor)
                    for change in missed:
                        await many.add(change)
                        if many.size > MAX_PIECE:
                            yield many.take()
                    if until is not None:
                        # Whoever is cut, as too much has happened meanwhile, has less to catch up.
                        yield many.take() + cursor_alone(until.text)
                begun = await self._hub.mark(watcher)
                await beginning_alone.aclose()
                async for batch in watcher.batches():
                    if part := await many.told(batch, begun):
                        yield part
            finally:
                self._hub.forget_all(watcher)

    @asynccontextmanager
    async def _its_turn(self) -> AsyncIterator[None]:
        """A turn of its own, which ends by itself: one who does not read holds nobody up."""
        await self._turn.acquire()
        over = False

        def end() -> None:
            nonlocal over
            if not over:
                over = True
                self._turn.release()

        limit = asyncio.get_running_loop().call_later(TURN, end)
        try:
            yield
        finally:
            limit.cancel()
            end()

    async def _snapshots(self, many: _Many) -> AsyncIterator[Change]:
        rows = [row for row in await self._views.live() if many.wants(row, row.state)]
        for start in range(0, len(rows), SNAPSHOTS_AT_ONCE):
            for view in await self._views.now_all(rows[start : start + SNAPSHOTS_AT_ONCE], {}):
                yield view.snapshot_change(view.row.state)

    async def _rows(self, request_ids: Sequence[str]) -> list[Request]:
        found = await self._store.get(request_ids)
        for request_id in request_ids:
            if request_id not in found:
                raise RequestNotFound(request_id)
        return [found[request_id] for request_id in request_ids]


class _Many:
    """How far one watcher of all requests is.

    Attributes:
        size: bytes that wait to be taken.
    """

    def __init__(self, views: Views, which: RequestFilter, options: WatchOptions) -> None:
        self._views = views
        self._which = which
        self._options = options
        self._has_begun = False
        self._first: dict[str, int] = {}
        self._parts: list[bytes] = []
        self._passed = 0
        self.size = 0

    def wants(self, request: Request, before: State | None) -> bool:
        """Whether a change of a request is for this watcher."""
        return matches(request, before, self._which)

    async def add(self, change: Change) -> None:
        """Take a change, unless it is not for this watcher or was told first."""
        self._passed += 1
        request_id = change.request.request_id
        if change.revision <= self._first.get(request_id, 0):
            return
        if self._has_begun:
            self._first.pop(request_id, None)
        else:
            self._first[request_id] = change.revision
        if not self.wants(change.request, change.before):
            return
        if self._options.include_job_chain and change.is_snapshot:
            part = await change.with_chain(self._views.chain, "")
        else:
            part = change.encoded("", self._options.requests_only)
        self._parts.append(part)
        self.size += len(part)

    def take(self) -> bytes:
        """What waits."""
        parts, self._parts, self.size = self._parts, [], 0
        return b"".join(parts)

    async def told(self, batch: Iterable[Change | Mark | Printed], begun: Mark) -> bytes:
        """What is told at once: all of it, and a cursor; nothing if it can wait.

        What comes up to the mark `begun` may have been told first.
        """
        cursor = ""
        for one in batch:
            if isinstance(one, Mark):
                if one is begun:
                    self._has_begun = True
                    self._passed = MAX_PASSED
                cursor = one.cursor
            elif isinstance(one, Change):
                await self.add(one)
        if not self._has_begun or not (self.size or self._passed >= MAX_PASSED):
            return b""
        self._passed = 0
        return self.take() + cursor_alone(cursor)


class _Named:
    """How far one watcher of named requests is.

    Attributes:
        revisions: what was told last of each, in the order in which they were named.
        open: those that have not ended, as far as was told.
    """

    def __init__(self, views: Views, options: WatchOptions, seen: dict[str, int]) -> None:
        self._views = views
        self._options = options
        self.revisions = seen
        self.open: set[str] = set()

    def expect(self, request_id: str) -> int:
        """Take a request that will be told of; answers the revision that was seen of it."""
        self.open.add(request_id)
        return self.revisions.setdefault(request_id, 0)

    async def first(self, view: View) -> AsyncIterator[Change]:
        """What leads from what was seen of a request to how it is."""
        row, seen = view.row, self.revisions[view.row.request_id]
        if row.state in FINAL and seen == view.revision:
            self.open.discard(row.request_id)
            return
        if view.missed is not None:
            for event in view.missed:
                for change in runner_changes(row, event):
                    yield change
            return
        if not seen:
            yield view.snapshot_change(row.state)
            return
        position = revision.parts_of(seen).position
        after = position if position < revision.LAST_POSITION else 0
        failure = view.failure
        try:
            async for entry in self._views.entries(row.request_id, after):
                change = entry_change(row, entry)
                if change.revision > view.revision:
                    break
                yield change
        except Exception as cause:  # noqa: BLE001 # a failure of all requests is raised again
            failure = request_failure(row.request_id, cause)
        if failure is not None:
            yield request_change(row, None, view.revision, failure=failure)
        elif row.state in FINAL or row.state is State.SUSPENDED:
            yield request_change(row, State.RUNNING, view.revision)
        else:
            yield view.snapshot_change(row.state)

    async def encoded(self, one: Change | Mark | Printed) -> bytes:
        """What waits for this watcher, as he gets it."""
        if isinstance(one, Printed):
            told = self.revisions[one.piece.request_id]
            return output_event(one.piece, told, self._cursor) if told else b""
        return await self.told(one) if isinstance(one, Change) else b""

    @property
    def _cursor(self) -> str:
        return ",".join(map(str, self.revisions.values()))

    async def told(self, change: Change) -> bytes:
        """The change as this watcher gets it; nothing if it was told before."""
        request_id = change.request.request_id
        if change.revision <= self.revisions[request_id]:
            return b""
        self.revisions[request_id] = change.revision
        if change.is_end:
            self.open.discard(request_id)
        cursor = self._cursor
        if self._options.include_job_chain and change.is_snapshot:
            return await change.with_chain(self._views.chain, cursor)
        return change.encoded(cursor, self._options.requests_only)
