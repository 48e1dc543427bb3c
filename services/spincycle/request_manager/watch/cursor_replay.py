"""The replay from cursors: subscribers by filter that resume together share rounds of reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.request_manager.watch.cursor import Cursor, snapshot_before
from spincycle.request_manager.watch.replay_plan import (
    ChangedRequests,
    ReplaySource,
    RunnerEvent,
    RunnerRange,
)
from spincycle.request_manager.watch.replay_round import ReplayRound
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.session import WatchSession
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue
from spincycle.runtime import deadline

MAX_CHANGED = 10_000
"""Most requests that may have changed since a cursor."""

MAX_HELD = 20_000
"""Rows and events held by all rounds together above which no further round starts."""

MIN_ROUND_SIZE = 100
"""Rows that each round counts at least."""

MAX_ROUND_DURATION = 10.0
"""Seconds that a round may take while another one waits."""


@dataclass(frozen=True, slots=True)
class ReplayStores:
    """The stores of requests and of their changes."""

    requests: RequestStore
    changes: ChangeStore


@dataclass(eq=False, slots=True)
class _Member:
    """A subscriber that waits for a round or uses one."""

    session: WatchSession
    queue: SubscriberQueue
    after: Cursor
    with_args: bool
    round: asyncio.Future[ReplayRound] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class CursorReplay:
    """Replays missed events: those that runners still have one by one, others as snapshots.

    If a live runner has dropped events after a cursor, the cursor is too old. Subscribers that
    arrive while a round starts share the next one, whose reads are made once for all of them.
    """

    def __init__(
        self, stores: ReplayStores, feeds: RunnerFeeds, snapshots: SharedSnapshots
    ) -> None:
        self._stores = stores
        self._feeds = feeds
        self._snapshots = snapshots
        self._numbers = count(1)
        self._waiting: list[_Member] = []
        self._starting: list[_Member] = []
        self._start_task: asyncio.Task[ReplayRound] | None = None
        self._rounds: dict[ReplayRound, set[_Member]] = {}
        self._starter: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def round(
        self, session: WatchSession, queue: SubscriberQueue, after: Cursor, *, with_args: bool
    ) -> AsyncIterator[ReplayRound]:
        """Yield a round that replays events after a cursor up to what follows in the queue.

        The queue is cleared when the round starts. `with_args`: the caller needs
        `Request.given_args` of the events.

        Raises:
            DatabaseUnavailable: changed requests cannot be read.
        """
        member = _Member(session, queue, after, with_args)
        self._waiting.append(member)
        if self._starter is None:
            self._starter = asyncio.create_task(
                self._start_rounds(), context=deadline.without_deadline()
            )
        try:
            yield await member.round
        finally:
            self._leave(member)

    def _leave(self, member: _Member) -> None:
        if member in self._waiting:
            self._waiting.remove(member)
        if member in self._starting:
            self._starting.remove(member)
            if not self._starting and self._start_task is not None:
                self._start_task.cancel()
        for one, members in list(self._rounds.items()):
            members.discard(member)
            if not members:
                self._end(one)

    def _end(self, one: ReplayRound) -> None:
        del self._rounds[one]
        one.over.set()

    async def _start_rounds(self) -> None:
        try:
            while self._waiting:
                await self._make_room()
                self._starting, self._waiting = self._waiting, []
                await self._start_round()
        finally:
            # Not in a done callback: a subscriber that arrives before it would wait for ever.
            self._starter = None

    async def _make_room(self) -> None:
        while sum(max(one.size, MIN_ROUND_SIZE) for one in self._rounds) >= MAX_HELD:
            oldest = next(iter(self._rounds))
            try:
                async with asyncio.timeout_at(oldest.started_at + MAX_ROUND_DURATION):
                    await oldest.over.wait()
            except TimeoutError:
                if oldest in self._rounds:
                    oldest.expire()
                    self._end(oldest)

    async def _start_round(self) -> None:
        if not self._starting:
            return
        task = self._start_task = asyncio.create_task(self._read_round(list(self._starting)))
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            members, self._starting, self._start_task = self._starting, [], None
        if task.cancelled():
            for member in members:
                member.round.cancel()
        elif failure := task.exception():
            for member in members:
                member.round.set_exception(failure)
                # Retrieve it, since a subscriber may have left by now.
                member.round.exception()
        elif members:
            self._rounds[task.result()] = set(members)
            for member in members:
                member.round.set_result(task.result())

    async def _read_round(self, members: Sequence[_Member]) -> ReplayRound:
        offsets = {
            runner_id: max(member.after.offsets.get(runner_id, 0) for member in members)
            for runner_id in self._feeds.runner_ids
        }
        session = members[0].session
        until, live = await session.start_replay([member.queue for member in members], offsets)
        runners, events = await self._read_events(members, until)
        # Read before the changes: a row that is not among these is as it was at the cursor.
        rows = await self._stores.requests.get(list(events)) if events else {}
        changed = await self._read_changes(members)
        source = ReplaySource(until, live, runners, events, rows, changed)
        return ReplayRound(next(self._numbers), source, self._snapshots)

    async def _read_events(
        self, members: Sequence[_Member], until: Cursor
    ) -> tuple[dict[str, RunnerRange], dict[str, list[RunnerEvent]]]:
        """Read the events of each runner after the oldest cursor for which it has all of them."""
        runners: dict[str, RunnerRange] = {}
        by_request: dict[str, list[RunnerEvent]] = {}
        for runner_id, offset in until.offsets.items():
            if not self._feeds.has(runner_id):
                continue
            address = self._feeds.address(runner_id)
            runner = runners[runner_id] = RunnerRange(address, responded=True, floor=offset)
            known_offsets = {member.after.offsets.get(runner_id, 0) for member in members}
            for known in sorted(known for known in known_offsets if known < offset):
                try:
                    events = await self._feeds.past_events(runner_id, known, offset)
                except LookupError:
                    continue
                if events is None:
                    runner.responded = False
                    break
                runner.floor = known
                for event in events:
                    by_request.setdefault(event.request_id, []).append((runner_id, event))
                break
        return runners, by_request

    async def _read_changes(self, members: Sequence[_Member]) -> dict[str, ChangedRequests | None]:
        """Read the requests that changed after each cursor: at once, unless they are too many."""
        with_args = any(member.with_args for member in members)
        cursors = {member.after.db_snapshot: member.after.visible for member in members}
        oldest_first = sorted(cursors, key=lambda text: cursors[text].first_running)
        changed: dict[str, ChangedRequests | None] = {}
        for index, db_snapshot in enumerate(oldest_first):
            since = snapshot_before(cursors[db_snapshot].first_running)
            found = await self._read_changed(since, with_args=with_args)
            if found is not None:
                return changed | dict.fromkeys(oldest_first[index:], found)
            # Some of them were visible at the cursor; without these they may be few enough.
            changed[db_snapshot] = await self._read_changed(db_snapshot, with_args=with_args)
        return changed

    async def _read_changed(self, db_snapshot: str, *, with_args: bool) -> ChangedRequests | None:
        rows = await self._stores.changes.changed(db_snapshot, MAX_CHANGED + 1, with_args=with_args)
        if len(rows) > MAX_CHANGED:
            return None
        changed = ChangedRequests(rows)
        for one in self._rounds:
            one.share(changed)
        return changed
