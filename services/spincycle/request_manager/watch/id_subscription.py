"""The state of one subscriber by id."""

from __future__ import annotations

from collections.abc import AsyncIterator

from spincycle.model import revision
from spincycle.model.state import FINAL, State
from spincycle.request_manager.request_encoding import request_failure
from spincycle.request_manager.watch.events import (
    EncodedEvent,
    entry_event,
    output_event,
    request_event,
    runner_events,
)
from spincycle.request_manager.watch.snapshots import RequestSnapshot, RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import JobOutputChunk, QueueItem
from spincycle.request_manager.watch.watch_options import WatchOptions


class IdSubscription:
    """Encodes the events of named requests for one subscriber.

    Attributes:
        revisions: last revision sent of each request, in the order in which they were named.
        open: requests whose last event has not been sent.
    """

    def __init__(
        self, snapshots: RequestSnapshots, options: WatchOptions, revisions: dict[str, int]
    ) -> None:
        self._snapshots = snapshots
        self._options = options
        self.revisions = revisions
        self.open: set[str] = set()

    @property
    def viewable_types(self) -> frozenset[str] | None:
        """Types of requests that the caller may view; None means all."""
        return self._options.viewable_types

    def add_request(self, request_id: str) -> int:
        """Add a request; return the last revision that the subscriber has of it, 0 if none."""
        self.open.add(request_id)
        return self.revisions.setdefault(request_id, 0)

    async def first_events(self, snapshot: RequestSnapshot) -> AsyncIterator[EncodedEvent]:
        """Yield the events from the subscriber's revision up to a snapshot."""
        row, seen = snapshot.row, self.revisions[snapshot.row.request_id]
        if row.state in FINAL and seen == snapshot.revision:
            self.open.discard(row.request_id)
            return
        if snapshot.missed is not None:
            for source in snapshot.missed:
                for event in runner_events(row, source):
                    yield event
            return
        if not seen:
            yield snapshot.as_event(row.state)
            return
        position = revision.parts_of(seen).position
        after = position if position < revision.LAST_POSITION else 0
        failure = snapshot.failure
        try:
            async for entry in self._snapshots.entries(row.request_id, after):
                event = entry_event(row, entry)
                if event.revision > snapshot.revision:
                    break
                yield event
        except Exception as cause:  # noqa: BLE001 # request_failure raises shared failures again
            failure = request_failure(row.request_id, cause)
        if failure is not None:
            yield request_event(row, None, snapshot.revision, failure=failure)
        elif row.state in FINAL or row.state is State.SUSPENDED:
            yield request_event(row, State.RUNNING, snapshot.revision)
        else:
            yield snapshot.as_event(row.state)

    async def encode(self, item: QueueItem) -> bytes:
        """Return the message for an item of the subscriber's queue; empty if it needs none."""
        if isinstance(item, JobOutputChunk):
            sent = self.revisions[item.output.request_id]
            return output_event(item.output, sent, self._cursor) if sent else b""
        return await self.encode_event(item) if isinstance(item, EncodedEvent) else b""

    async def encode_event(self, event: EncodedEvent) -> bytes:
        """Return the message for an event; empty if the subscriber has it."""
        request_id = event.request.request_id
        if event.revision <= self.revisions[request_id]:
            return b""
        self.revisions[request_id] = event.revision
        if event.is_end:
            self.open.discard(request_id)
        cursor = self._cursor
        if self._options.include_job_chain and event.is_snapshot:
            return await event.with_chain(self._snapshots.chain, cursor)
        return event.encoded(cursor, self._options.requests_only)

    @property
    def _cursor(self) -> str:
        return ",".join(map(str, self.revisions.values()))
