"""How far a watcher of named requests is, and what leads to how they are."""

from __future__ import annotations

from collections.abc import AsyncIterator

from spincycle.model import revision
from spincycle.model.state import FINAL, State
from spincycle.request_manager.request_encoding import request_failure
from spincycle.request_manager.watch.events import (
    EncodedEvent,
    entry_change,
    output_event,
    request_change,
    runner_changes,
)
from spincycle.request_manager.watch.snapshots import RequestSnapshot, RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import Checkpoint, JobOutputChunk
from spincycle.request_manager.watch.watch_options import WatchOptions


class IdSubscription:
    """How far one watcher of named requests is.

    Attributes:
        revisions: what was told last of each, in the order in which they were named.
        open: those that have not ended, as far as was told.
    """

    def __init__(
        self, views: RequestSnapshots, options: WatchOptions, seen: dict[str, int]
    ) -> None:
        self._views = views
        self._options = options
        self.revisions = seen
        self.open: set[str] = set()

    def expect(self, request_id: str) -> int:
        """Take a request that will be told of; answers the revision that was seen of it."""
        self.open.add(request_id)
        return self.revisions.setdefault(request_id, 0)

    async def first(self, view: RequestSnapshot) -> AsyncIterator[EncodedEvent]:
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

    async def encoded(self, one: EncodedEvent | Checkpoint | JobOutputChunk) -> bytes:
        """What waits for this watcher, as he gets it."""
        if isinstance(one, JobOutputChunk):
            told = self.revisions[one.piece.request_id]
            return output_event(one.piece, told, self._cursor) if told else b""
        return await self.told(one) if isinstance(one, EncodedEvent) else b""

    @property
    def _cursor(self) -> str:
        return ",".join(map(str, self.revisions.values()))

    async def told(self, change: EncodedEvent) -> bytes:
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
