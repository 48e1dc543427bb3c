"""The state of one subscriber by filter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace

from spincycle.model.state import State
from spincycle.request_manager.storage.model import Request, RequestFilter
from spincycle.request_manager.watch.events import SYNCED, EncodedEvent, cursor_message, matches
from spincycle.request_manager.watch.replay_round import ReplayPart
from spincycle.request_manager.watch.subscriber_queue import Checkpoint, QueueItem
from spincycle.request_manager.watch.watch_options import WatchOptions
from spincycle.rpc.limits import CLIENT_MESSAGE_BYTES
from spincycle.v1 import job_chain_pb2

FLUSH_BYTES = 32 * 1024
"""Bytes after which a message ends at the next place from which the stream can be resumed."""

MAX_REPLAY_BYTES = 256 * 1024
"""Most bytes of a message of replayed events, unless one event alone is larger. The limit of later
messages is CLIENT_MESSAGE_BYTES."""

MAX_SKIPPED = 1000
"""Non-matching events after which a cursor is sent, even though no event matched."""

ReadChain = Callable[[str], Awaitable[job_chain_pb2.JobChain]]
"""Reads the chain of a request."""


class FilterSubscription:
    """Collects the events that match a filter into messages for one subscriber.

    A subscription begins with a snapshot or a replay and is live from its first checkpoint on.

    Attributes:
        size: bytes of the message being collected.
    """

    def __init__(self, chain: ReadChain, which: RequestFilter, options: WatchOptions) -> None:
        self._chain = chain
        self._which = replace(which, types=options.viewable_types)
        self._options = options
        self._needs_own_encoding = bool(
            options.include_job_chain
            or which.type
            or which.user
            or which.states
            or which.args
            or options.viewable_types is not None
        )
        self._is_live = False
        self._is_synced = False
        self._sent_first: dict[str, int] = {}
        self._parts: list[bytes] = []
        self._skipped = 0
        self.size = 0

    @property
    def needs_args(self) -> bool:
        """Whether the filter uses arguments of requests."""
        return bool(self._which.args)

    @property
    def needs_flush(self) -> bool:
        """Whether the message being collected should end at the next cursor."""
        return self.size > FLUSH_BYTES

    def selects(self, request: Request, before: State | None) -> bool:
        """Return whether the filter selects an event of a request."""
        return matches(request, before, self._which)

    async def add(
        self, event: EncodedEvent, before: State | None, *, is_last: bool = False
    ) -> bytes:
        """Add an event, unless the filter excludes it or it was sent before the first checkpoint.

        `is_last`: no event of its request follows. Return the message to send first, if the event
        does not fit into it.
        """
        self._skipped += 1
        request_id = event.request.request_id
        if event.revision <= self._sent_first.get(request_id, 0):
            return b""
        if self._is_live:
            self._sent_first.pop(request_id, None)
        elif not is_last:
            self._sent_first[request_id] = event.revision
        if not self.selects(event.request, before):
            return b""
        if self._options.include_job_chain and event.is_snapshot:
            part = await event.with_chain(self._chain, "")
        else:
            part = event.encoded("", self._options.requests_only)
        return self._append(part)

    def message_of(self, part: ReplayPart) -> bytes:
        """Return a part as a message shared with other subscribers; empty if it must be added."""
        if self._parts or part.at is None or not self._take_shared(part, FLUSH_BYTES):
            return b""
        return part.encoded(requests_only=self._options.requests_only, with_cursor=True)

    async def add_part(self, part: ReplayPart) -> AsyncIterator[bytes]:
        """Add a part of a replay; yield the messages to send first."""
        if self._take_shared(part):
            if message := self._append(part.encoded(requests_only=self._options.requests_only)):
                yield message
            return
        for event in part.events:
            is_last = event.request.request_id in part.ended
            if message := await self.add(event, event.before, is_last=is_last):
                yield message

    def _take_shared(self, part: ReplayPart, min_size: int = -1) -> bool:
        """Mark a part of more than `min_size` bytes as sent; return False if it must be encoded."""
        if self._needs_own_encoding:
            return False
        if not min_size < part.size(requests_only=self._options.requests_only) <= MAX_REPLAY_BYTES:
            return False
        revisions = [(event.request.request_id, event.revision) for event in part.open]
        if any(revision <= self._sent_first.get(id_, 0) for id_, revision in revisions):
            return False
        self._sent_first.update(revisions)
        return True

    def _append(self, part: bytes) -> bytes:
        limit = CLIENT_MESSAGE_BYTES if self._is_live else MAX_REPLAY_BYTES
        full = self.take() if self._parts and self.size + len(part) > limit else b""
        self._parts.append(part)
        self.size += len(part)
        return full

    def take(self, cursor: str = "") -> bytes:
        """Return the collected message, with a cursor at its end unless that is empty."""
        parts, self._parts, self.size = self._parts, [], 0
        if cursor:
            parts.append(cursor_message(cursor))
        return b"".join(parts)

    async def encode(self, batch: Iterable[QueueItem], first: Checkpoint) -> AsyncIterator[bytes]:
        """Yield the messages for a batch of the subscriber's queue, with a cursor; none if empty.

        Events before the checkpoint `first` may have been sent already.
        """
        cursor = ""
        for item in batch:
            if isinstance(item, Checkpoint):
                if item is first:
                    self._is_live = True
                    self._skipped = MAX_SKIPPED
                cursor = item.cursor
                if self._is_live and self.needs_flush:
                    yield self._flush(cursor)
            elif isinstance(item, EncodedEvent) and (message := await self.add(item, item.before)):
                yield message
        if self._is_live and (self.size or self._skipped >= MAX_SKIPPED):
            yield self._flush(cursor)

    def _flush(self, cursor: str) -> bytes:
        self._skipped = 0
        synced, self._is_synced = b"" if self._is_synced else SYNCED, True
        return self.take(cursor) + synced
