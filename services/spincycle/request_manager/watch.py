"""Following requests and their jobs: a snapshot first, then every change; see docs/streams.md.

What is answered are the bytes of WatchResponses: an event is encoded once for all its watchers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
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
                    async for changes in watcher.batches():
                        parts = [await named.encoded(one) for one in changes]
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
        async with self._hub.watching(), AsyncExitStack() as beginning_alone:
            try:
                # One after another, so that each has begun before much has happened meanwhile.
                await beginning_alone.enter_async_context(self._its_turn())
                await self._hub.track_all(watcher)
                told: dict[str, int] = {}
                beginning = (
                    self._snapshots(which)
                    if after is None
                    else self._catching_up.run(watcher, after, cursor)
                )
                async for first in beginning:
                    if first.is_snapshot:
                        told[first.request.request_id] = first.revision
                    if part := await self._to_all(first, which, options, first.cursor):
                        yield part
                if after is None:
                    await self._hub.mark(watcher)
                await beginning_alone.aclose()
                marked = False
                async for changes in watcher.batches():
                    parts: list[bytes] = []
                    for change in changes:
                        if isinstance(change, Printed):
                            continue
                        if isinstance(change, Mark):
                            marked = True
                            parts.append(cursor_alone(change.cursor))
                            # What comes now is after every snapshot that was told first.
                            told = told if after else {}
                            continue
                        if not marked and after:
                            continue  # It was told while catching up.
                        if change.revision <= told.get(change.request.request_id, 0):
                            continue
                        told.pop(change.request.request_id, None)
                        place = change.cursor if marked else ""
                        parts.append(await self._to_all(change, which, options, place))
                    if any(parts):
                        yield b"".join(parts)
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

    async def _snapshots(self, which: RequestFilter) -> AsyncIterator[Change]:
        rows = [row for row in await self._views.live() if matches(row, row.state, which)]
        for start in range(0, len(rows), SNAPSHOTS_AT_ONCE):
            for view in await self._views.now_all(rows[start : start + SNAPSHOTS_AT_ONCE], {}):
                yield view.snapshot_change(view.row.state, "")

    async def _to_all(
        self, change: Change, which: RequestFilter, options: WatchOptions, cursor: str
    ) -> bytes:
        if not matches(change.request, change.before, which):
            return b""
        if options.include_job_chain and change.is_snapshot:
            chain = await self._views.chain(change.request.request_id)
            return change.with_chain(chain, cursor)
        return change.encoded(cursor, options.requests_only)

    async def _rows(self, request_ids: Sequence[str]) -> list[Request]:
        found = await self._store.get(request_ids)
        for request_id in request_ids:
            if request_id not in found:
                raise RequestNotFound(request_id)
        return [found[request_id] for request_id in request_ids]


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
                for change in runner_changes(row, event, ""):
                    yield change
            return
        if not seen:
            yield view.snapshot_change(row.state, "")
            return
        position = revision.parts_of(seen).position
        after = position if position < revision.LAST_POSITION else 0
        async for entry in self._views.entries(row.request_id, after):
            change = entry_change(row, entry, "")
            if change.revision > view.revision:
                break
            yield change
        if row.state in FINAL or row.state is State.SUSPENDED:
            yield request_change(row, State.RUNNING, view.revision, "")
        else:
            yield view.snapshot_change(row.state, "")

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
            return change.with_chain(await self._views.chain(request_id), cursor)
        return change.encoded(cursor, self._options.requests_only)
