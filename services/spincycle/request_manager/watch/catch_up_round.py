"""One catch-up of many watchers of all requests: what they missed is read once for all of them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import count, islice

from spincycle.model.state import FINAL
from spincycle.request_manager.watch.cursor import Cursor
from spincycle.request_manager.watch.events import EncodedEvent, cursor_alone
from spincycle.request_manager.watch.missed import ChangedRequest, Gap, MissedRequest, ReplayPlan
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots, Wanted

PORTIONS_KEPT = 16
"""Portions that a round keeps for the watchers that come to them next."""


class RoundExpired(Exception):
    """The round was ended in favour of others: what is still missing has to be read again."""


@dataclass(slots=True)
class ReplayPart:
    """Some of what a watcher missed.

    Attributes:
        at: cursor after it; None where the stream cannot be taken up again.
        ended: requests in it of which nothing more comes.
        open: changes of the other ones.
    """

    changes: Sequence[EncodedEvent]
    at: Cursor | None
    ended: frozenset[str] = frozenset()
    open: Sequence[EncodedEvent] = field(init=False)
    _encoded: dict[tuple[bool, bool], bytes] = field(init=False, default_factory=dict)
    _sizes: dict[bool, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Find the changes of requests that have not ended."""
        self.open = [one for one in self.changes if one.request.request_id not in self.ended]

    def size(self, requests_only: bool) -> int:
        """Return how many bytes `encoded` has."""
        known = self._sizes.get(requests_only)
        if known is None:
            known = sum(len(change.encoded("", requests_only)) for change in self.changes)
            self._sizes[requests_only] = known
        return known

    def encoded(self, requests_only: bool, *, with_cursor: bool = False) -> bytes:
        """Return all changes as they go to a watcher without a filter, encoded once for all.

        `with_cursor`: with the cursor after them, if there is one.
        """
        key = (requests_only, with_cursor)
        known = self._encoded.get(key)
        if known is None:
            parts = [change.encoded("", requests_only) for change in self.changes]
            if with_cursor and self.at is not None:
                parts.append(cursor_alone(self.at.text))
            known = self._encoded[key] = b"".join(parts)
        return known


class _Shared:
    """A portion, made by the first watcher that comes to it."""

    __slots__ = ("failure", "making", "plan", "portion")

    def __init__(self, plan: ReplayPlan) -> None:
        self.plan = plan
        self.portion: ReplayPart | None = None
        self.failure: Exception | None = None
        self.making = asyncio.Lock()


class _Course:
    """The portions of one cursor, planned for the watcher that is ahead of the others."""

    __slots__ = ("gap", "planned", "plans")

    def __init__(self, gap: Gap) -> None:
        self.gap = gap
        self.plans = gap.plans()
        self.planned = 0


class ReplayRound:
    """Tells each of some watchers what it missed, in portions that the watcher asks for.

    A watcher holds its place in what all of them share, and the portion that it sends. Watchers
    with the same cursor share portions as long as they are about as fast.

    Attributes:
        began: time of the event loop.
        size: rows and events that it holds.
        over: set when no watcher needs it any longer.
    """

    def __init__(self, number: int, missed: MissedRequest, snapshots: SharedSnapshots) -> None:
        self._number = number
        self.size = missed.size
        self._missed = missed
        self._snapshots = snapshots
        self._courses: dict[str, _Course] = {}
        self._portions: OrderedDict[tuple[str, int], _Shared] = OrderedDict()
        self._expired = False
        self.began = asyncio.get_running_loop().time()
        self.over = asyncio.Event()

    def share(self, changed: ChangedRequest) -> None:
        """Let a later read hold the rows of this round where they are equal."""
        for one in {id(one): one for one in self._missed.changed.values() if one}.values():
            changed.share(one)

    def expire(self) -> None:
        """Drop what was read; watchers that still need it get RoundExpired."""
        self._expired = True
        self._missed.clear()
        self._courses.clear()
        self._portions.clear()

    async def missed(
        self, after: Cursor, over: Set[str] = frozenset()
    ) -> AsyncGenerator[ReplayPart, None]:
        """All that was told after a cursor, request by request, with rising revisions.

        `over`: requests that had ended and whose ends the watcher has been told since.

        What waits for the watcher since the round began comes after it. The last portion has no
        cursor if some of it may be beyond, as a runner was asked how its chains are.

        Raises:
            CursorTooOld: too much has happened since, or it is of another database.
            RoundExpired: it was not taken in time; go on after the last cursor, in another round.
            DatabaseUnavailable, ServiceUnavailable: it cannot be read now.
        """
        if self._expired:
            raise RoundExpired
        for shared in self._each(after, over):
            yield await self._portion(shared)
            if shared.plan.is_last:
                return
            if self._expired:
                raise RoundExpired

    def _each(self, after: Cursor, over: Set[str]) -> Iterator[_Shared]:
        key = after.text
        course = self._courses.get(key)
        if course is None:
            gap = Gap(self._missed, after, self._number, self._snapshots)
            course = self._courses[key] = _Course(gap)
        own = course.gap.plans(over) if over else None
        for index in count():
            shared = self._find(key, course, index) if own is None else None
            if shared is None:
                if own is None:
                    # Others with this cursor are ahead by more portions than are kept.
                    own = islice(course.gap.plans(), index, None)
                shared = _Shared(next(own))
            yield shared

    def _find(self, key: str, course: _Course, index: int) -> _Shared | None:
        if index == course.planned:
            course.planned += 1
            self._portions[key, index] = _Shared(next(course.plans))
            if len(self._portions) > PORTIONS_KEPT:
                self._portions.popitem(last=False)
        return self._portions.get((key, index))

    async def _portion(self, shared: _Shared) -> ReplayPart:
        if shared.portion is None:
            async with shared.making:
                if shared.failure is not None:
                    raise shared.failure
                if shared.portion is None:
                    try:
                        shared.portion = await self._make(shared.plan)
                    except Exception as failure:
                        shared.failure = failure
                        raise
        return shared.portion

    async def _make(self, plan: ReplayPlan) -> ReplayPart:
        wanted = [part for one in plan.tellings for part in one.parts if isinstance(part, Wanted)]
        read = iter(await self._snapshots.get(wanted) if wanted else ())
        changes: list[EncodedEvent] = []
        for one in plan.tellings:
            parts = [next(read) if isinstance(part, Wanted) else part for part in one.parts]
            changes += _rising(parts, one.told)
        ended = frozenset(one.row.request_id for one in plan.tellings if one.row.state in FINAL)
        return ReplayPart(changes, plan.at, ended)


def _rising(changes: Sequence[EncodedEvent], told: int) -> list[EncodedEvent]:
    """Changes in order, but for those up to a revision."""
    rising: list[EncodedEvent] = []
    for change in sorted(changes, key=lambda change: change.revision):
        if change.revision > told:
            rising.append(change)
            told = change.revision
    return rising
