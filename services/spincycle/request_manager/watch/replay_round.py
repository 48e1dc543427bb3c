"""A replay round: many subscribers by filter share what was read of the events they missed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import count, islice

from spincycle.model.state import FINAL
from spincycle.request_manager.watch.cursor import Cursor
from spincycle.request_manager.watch.events import EncodedEvent, cursor_message
from spincycle.request_manager.watch.replay_plan import (
    ChangedRequests,
    PartPlan,
    ReplayPlan,
    ReplaySource,
)
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots, SnapshotKey

CACHED_PARTS = 16
"""Most parts that a round keeps for the subscribers that need them next."""


class RoundExpired(Exception):
    """The round was ended in favour of another; the subscriber continues in a later round."""


@dataclass(slots=True)
class ReplayPart:
    """A part of a replay.

    Attributes:
        events: its events, request by request.
        at: cursor after the part; None if the stream cannot be resumed there.
        ended: requests of which no event follows.
        open: events of the other requests.
    """

    events: Sequence[EncodedEvent]
    at: Cursor | None
    ended: frozenset[str] = frozenset()
    open: Sequence[EncodedEvent] = field(init=False)
    _encoded: dict[tuple[bool, bool], bytes] = field(init=False, default_factory=dict)
    _sizes: dict[bool, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Find the events of requests that have not ended."""
        self.open = [one for one in self.events if one.request.request_id not in self.ended]

    def size(self, *, requests_only: bool) -> int:
        """Return the number of bytes that `encoded` returns."""
        size = self._sizes.get(requests_only)
        if size is None:
            size = sum(len(event.encoded("", requests_only)) for event in self.events)
            self._sizes[requests_only] = size
        return size

    def encoded(self, *, requests_only: bool, with_cursor: bool = False) -> bytes:
        """Return the events as a message for subscribers without a filter, encoded once for all.

        `with_cursor`: add the cursor after them, if there is one.
        """
        key = (requests_only, with_cursor)
        message = self._encoded.get(key)
        if message is None:
            parts = [event.encoded("", requests_only) for event in self.events]
            if with_cursor and self.at is not None:
                parts.append(cursor_message(self.at.text))
            message = self._encoded[key] = b"".join(parts)
        return message


class _LazyPart:
    """A part that the first subscriber to reach it makes."""

    __slots__ = ("failure", "making", "part", "plan")

    def __init__(self, plan: PartPlan) -> None:
        self.plan = plan
        self.part: ReplayPart | None = None
        self.failure: Exception | None = None
        self.making = asyncio.Lock()


class _SharedPlan:
    """The plan for one cursor, advanced by the fastest of its subscribers."""

    __slots__ = ("parts", "plan", "planned")

    def __init__(self, plan: ReplayPlan) -> None:
        self.plan = plan
        self.parts = plan.parts()
        self.planned = 0


class ReplayRound:
    """Replays missed events to some subscribers, part by part, as fast as each of them reads.

    A subscriber holds its place, and the part that it sends. Subscribers with the same cursor
    share parts as long as they are about equally fast.

    Attributes:
        started_at: time of the event loop.
        size: number of rows and events that the round holds.
        over: set when no subscriber needs the round any longer.
    """

    def __init__(self, number: int, source: ReplaySource, snapshots: SharedSnapshots) -> None:
        self._number = number
        self.size = source.size
        self._source = source
        self._snapshots = snapshots
        self._plans: dict[str, _SharedPlan] = {}
        self._parts: OrderedDict[tuple[str, int], _LazyPart] = OrderedDict()
        self._expired = False
        self.started_at = asyncio.get_running_loop().time()
        self.over = asyncio.Event()

    def share(self, changed: ChangedRequests) -> None:
        """Let a later read hold the rows of this round where they are equal."""
        for one in {id(one): one for one in self._source.changed.values() if one}.values():
            changed.share(one)

    def expire(self) -> None:
        """Drop what was read; subscribers that still need it get RoundExpired."""
        self._expired = True
        self._source.clear()
        self._plans.clear()
        self._parts.clear()

    async def parts(
        self, after: Cursor, excluded: AbstractSet[str] = frozenset()
    ) -> AsyncGenerator[ReplayPart, None]:
        """Yield the events after a cursor, request by request, with rising revisions.

        `excluded`: requests whose last events the subscriber has received since the cursor.

        What is in the subscriber's queue since the round started follows the replay. The last
        part has no cursor if it may include later events, because it has current snapshots.

        Raises:
            CursorTooOld: too much has changed since the cursor, or it is of another database.
            RoundExpired: the round was ended; continue after the last cursor in another round.
            DatabaseUnavailable, ServiceUnavailable: snapshots cannot be read.
        """
        if self._expired:
            raise RoundExpired
        for lazy in self._lazy_parts(after, excluded):
            yield await self._made(lazy)
            if lazy.plan.is_last:
                return
            if self._expired:
                raise RoundExpired

    def _lazy_parts(self, after: Cursor, excluded: AbstractSet[str]) -> Iterator[_LazyPart]:
        key = after.text
        shared = self._plans.get(key)
        if shared is None:
            plan = ReplayPlan(self._source, after, self._number, self._snapshots)
            shared = self._plans[key] = _SharedPlan(plan)
        own = shared.plan.parts(excluded) if excluded else None
        for index in count():
            lazy = self._find(key, shared, index) if own is None else None
            if lazy is None:
                if own is None:
                    # Other subscribers with this cursor are ahead by more parts than are cached.
                    own = islice(shared.plan.parts(), index, None)
                lazy = _LazyPart(next(own))
            yield lazy

    def _find(self, key: str, shared: _SharedPlan, index: int) -> _LazyPart | None:
        if index == shared.planned:
            shared.planned += 1
            self._parts[key, index] = _LazyPart(next(shared.parts))
            if len(self._parts) > CACHED_PARTS:
                self._parts.popitem(last=False)
        return self._parts.get((key, index))

    async def _made(self, lazy: _LazyPart) -> ReplayPart:
        if lazy.part is None:
            async with lazy.making:
                if lazy.failure is not None:
                    raise lazy.failure
                if lazy.part is None:
                    try:
                        lazy.part = await self._make(lazy.plan)
                    except Exception as failure:
                        lazy.failure = failure
                        raise
        return lazy.part

    async def _make(self, plan: PartPlan) -> ReplayPart:
        keys = [part for item in plan.items for part in item.parts if isinstance(part, SnapshotKey)]
        snapshots = iter(await self._snapshots.get(keys) if keys else ())
        events: list[EncodedEvent] = []
        for item in plan.items:
            its_events = [
                next(snapshots) if isinstance(part, SnapshotKey) else part for part in item.parts
            ]
            events += _rising(its_events, item.delivered_revision)
        ended = frozenset(item.row.request_id for item in plan.items if item.row.state in FINAL)
        return ReplayPart(events, plan.at, ended)


def _rising(events: Sequence[EncodedEvent], delivered_revision: int) -> list[EncodedEvent]:
    """Return the events above a revision, in the order of their revisions, each once."""
    rising: list[EncodedEvent] = []
    for event in sorted(events, key=lambda event: event.revision):
        if event.revision > delivered_revision:
            rising.append(event)
            delivered_revision = event.revision
    return rising
