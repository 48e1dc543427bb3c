"""Watchers of all requests that come again with a cursor catch up together, in rounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.request_manager.watch.catch_up_round import ReplayRound
from spincycle.request_manager.watch.cursor import Cursor, before
from spincycle.request_manager.watch.hub import Hub
from spincycle.request_manager.watch.missed import ChangedRequest, MissedRequest, RunnerSteps, Step
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue
from spincycle.runtime import deadline

MAX_CHANGED = 10_000
"""Requests that may have changed since a cursor."""

HELD_AT_ONCE = 20_000
"""Rows and events, held by all rounds together, beyond which no further round begins."""

LEAST_HELD = 100
"""Rows that each round counts at least."""

TURN = 10.0
"""Seconds that a round has before it is ended in favour of one that waits."""


@dataclass(frozen=True, slots=True)
class ReplayStores:
    """Where requests and their changes are read."""

    requests: RequestStore
    changes: ChangeStore


@dataclass(eq=False, slots=True)
class _Member:
    """A watcher that catches up, and its round once that has begun."""

    watcher: SubscriberQueue
    after: Cursor
    with_args: bool
    round: asyncio.Future[ReplayRound] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class CursorReplay:
    """Finds what was missed: what runners still know step by step, and the rest as snapshots.

    A runner that lives and no longer knows all of it makes the cursor too old. Watchers that come
    while a round begins share the next one: its reads are made once for all of them.
    """

    def __init__(
        self, hub: Hub, stores: ReplayStores, feeds: RunnerFeeds, snapshots: SharedSnapshots
    ) -> None:
        self._hub = hub
        self._stores = stores
        self._feeds = feeds
        self._snapshots = snapshots
        self._numbers = count(1)
        self._waiting: list[_Member] = []
        self._beginning: list[_Member] = []
        self._begin_task: asyncio.Task[ReplayRound] | None = None
        self._rounds: dict[ReplayRound, set[_Member]] = {}
        self._keeper: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def round(
        self, watcher: SubscriberQueue, after: Cursor, *, with_args: bool
    ) -> AsyncIterator[ReplayRound]:
        """A round in which a watcher catches up; what waited for it before is dropped.

        `with_args`: `Request.given_args` are needed of what is told.

        Raises:
            DatabaseUnavailable: it is not known what was missed.
        """
        member = _Member(watcher, after, with_args)
        self._waiting.append(member)
        if self._keeper is None:
            self._keeper = asyncio.create_task(
                self._keep_beginning(), context=deadline.without_deadline()
            )
        try:
            yield await member.round
        finally:
            self._leave(member)

    def _leave(self, member: _Member) -> None:
        if member in self._waiting:
            self._waiting.remove(member)
        if member in self._beginning:
            self._beginning.remove(member)
            if not self._beginning and self._begin_task is not None:
                self._begin_task.cancel()
        for one, members in list(self._rounds.items()):
            members.discard(member)
            if not members:
                self._end(one)

    def _end(self, one: ReplayRound) -> None:
        del self._rounds[one]
        one.over.set()

    async def _keep_beginning(self) -> None:
        try:
            while self._waiting:
                await self._make_room()
                self._beginning, self._waiting = self._waiting, []
                await self._begin_round()
        finally:
            # Not in a callback of the task: a watcher that comes before it would wait for ever.
            self._keeper = None

    async def _make_room(self) -> None:
        while sum(max(one.size, LEAST_HELD) for one in self._rounds) >= HELD_AT_ONCE:
            oldest = next(iter(self._rounds))
            try:
                async with asyncio.timeout_at(oldest.began + TURN):
                    await oldest.over.wait()
            except TimeoutError:
                if oldest in self._rounds:
                    oldest.expire()
                    self._end(oldest)

    async def _begin_round(self) -> None:
        if not self._beginning:
            return
        task = self._begin_task = asyncio.create_task(self._begin(list(self._beginning)))
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            members, self._beginning, self._begin_task = self._beginning, [], None
        if task.cancelled():
            for member in members:
                member.round.cancel()
        elif failure := task.exception():
            for member in members:
                member.round.set_exception(failure)
                # It is not lost if the watcher is gone by now.
                member.round.exception()
        elif members:
            self._rounds[task.result()] = set(members)
            for member in members:
                member.round.set_result(task.result())

    async def _begin(self, members: Sequence[_Member]) -> ReplayRound:
        orders = {
            runner_id: max(member.after.orders.get(runner_id, 0) for member in members)
            for runner_id in self._feeds.known
        }
        until, live = await self._hub.begin_after([member.watcher for member in members], orders)
        runners, steps = await self._steps(members, until)
        # Read before the changes: what is not among these is as it was at the cursor.
        rows = await self._stores.requests.get(list(steps)) if steps else {}
        changed = await self._changed(members)
        missed = MissedRequest(until, live, runners, steps, rows, changed)
        return ReplayRound(next(self._numbers), missed, self._snapshots)

    async def _steps(
        self, members: Sequence[_Member], until: Cursor
    ) -> tuple[dict[str, RunnerSteps], dict[str, list[Step]]]:
        """What runners told after the oldest of the cursors that they still know all after."""
        runners: dict[str, RunnerSteps] = {}
        steps: dict[str, list[Step]] = {}
        for runner_id, order in until.orders.items():
            if not self._feeds.knows(runner_id):
                continue
            address = self._feeds.address(runner_id)
            runner = runners[runner_id] = RunnerSteps(address, answered=True, floor=order)
            knowns = {member.after.orders.get(runner_id, 0) for member in members}
            for known in sorted(known for known in knowns if known < order):
                try:
                    events = await self._feeds.missed(runner_id, known, order)
                except LookupError:
                    continue
                if events is None:
                    runner.answered = False
                    break
                runner.floor = known
                for event in events:
                    steps.setdefault(event.request_id, []).append((runner_id, event))
                break
        return runners, steps

    async def _changed(self, members: Sequence[_Member]) -> dict[str, ChangedRequest | None]:
        """Requests that changed after each cursor: in one read, unless there are too many."""
        with_args = any(member.with_args for member in members)
        cursors = {member.after.seen: member.after.snapshot for member in members}
        oldest_first = sorted(cursors, key=lambda seen: cursors[seen].first)
        changed: dict[str, ChangedRequest | None] = {}
        for place, seen in enumerate(oldest_first):
            since = before(cursors[seen].first)
            found = await self._read_changed(since, with_args)
            if found is not None:
                return changed | dict.fromkeys(oldest_first[place:], found)
            # Some of these may have been told, as they were visible at the cursor.
            changed[seen] = await self._read_changed(seen, with_args)
        return changed

    async def _read_changed(self, seen: str, with_args: bool) -> ChangedRequest | None:
        rows = await self._stores.changes.changed(seen, MAX_CHANGED + 1, with_args=with_args)
        if len(rows) > MAX_CHANGED:
            return None
        changed = ChangedRequest(rows)
        for one in self._rounds:
            one.share(changed)
        return changed
