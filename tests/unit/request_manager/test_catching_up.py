from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
from tests.unit.request_manager.test_watcher import a_request

from spincycle.errors import CursorTooOld, DatabaseUnavailable
from spincycle.model.state import State
from spincycle.request_manager.storage.model import Request, RequestFilter
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.request_manager.watch import catch_up as module
from spincycle.request_manager.watch import catch_up_round, missed
from spincycle.request_manager.watch import subscriptions as watch
from spincycle.request_manager.watch.catch_up import CursorReplay, ReplayStores
from spincycle.request_manager.watch.catch_up_round import ReplayRound
from spincycle.request_manager.watch.cursor import Cursor
from spincycle.request_manager.watch.events import EncodedEvent, request_change
from spincycle.request_manager.watch.hub import Hub
from spincycle.request_manager.watch.missed import ChangedRequest
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.shared_snapshots import SharedSnapshots
from spincycle.request_manager.watch.snapshots import RequestSnapshot, RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import Checkpoint, SubscriberQueue
from spincycle.request_manager.watch.subscriptions import Subscriptions
from spincycle.request_manager.watch.watch_options import WatchOptions
from spincycle.rpc.limits import CLIENT_MESSAGE_BYTES
from spincycle.v1 import request_manager_service_pb2 as rpc

UNTIL = Cursor("1000:1000:", {})


class Database:
    """Requests that ended, one in each transaction from 10 on."""

    def __init__(self, count: int) -> None:
        self.rows = [
            (10 + number, a_request(State.COMPLETE, request_id=f"r{number}"))
            for number in range(count)
        ]
        self.reads: list[str] = []

    async def changed(self, seen: str, limit: int, *, with_args: bool) -> list[tuple[int, Request]]:
        self.reads.append(seen)
        shown = Cursor(seen, {}).snapshot
        return [(number, row) for number, row in self.rows if not shown.shows(number)][:limit]


class StillHub:
    """A hub at which nothing happens."""

    def __init__(self) -> None:
        self.rounds: list[int] = []
        self.begun = asyncio.Semaphore(0)
        self.may = asyncio.Event()
        self.may.set()
        self.failure: Exception | None = None

    async def begin_after(
        self, watchers: Iterable[SubscriberQueue], orders: Mapping[str, int]
    ) -> tuple[Cursor, dict[str, Request]]:
        self.rounds.append(len(list(watchers)))
        self.begun.release()
        await self.may.wait()
        if self.failure is not None:
            raise self.failure
        return UNTIL, {}

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        yield

    async def track_all(self, watcher: SubscriberQueue) -> None:
        pass

    def forget_all(self, watcher: SubscriberQueue) -> None:
        pass

    async def mark(self, watcher: SubscriberQueue) -> Checkpoint:
        mark = Checkpoint(UNTIL.text)
        watcher.mark(mark)
        return mark


class NoFeeds:
    known: Sequence[str] = ()


class ReadyViews:
    def __init__(self) -> None:
        self.read = 0

    async def of_all(self, wanted: Sequence[tuple[Request, int]]) -> list[RequestSnapshot]:
        self.read += len(wanted)
        return [RequestSnapshot(row, revision) for row, revision in wanted]

    async def chain(self, request_id: str) -> None:
        pass


class Bench:
    """Watchers at a hub at which nothing happens."""

    def __init__(self, count: int) -> None:
        self.hub = StillHub()
        self.views = ReadyViews()
        self.database = Database(count)
        hub, views = cast("Hub", self.hub), cast("RequestSnapshots", self.views)
        shared = SharedSnapshots(views)
        store = cast("RequestStore", None)
        stores = ReplayStores(store, cast("module.ChangeStore", self.database))
        self.catching_up = CursorReplay(hub, stores, cast("RunnerFeeds", NoFeeds()), shared)
        self.watch = Subscriptions(store, hub, self.catching_up, views, shared)

    async def ids(self, seen: str, watcher: SubscriberQueue | None = None) -> list[str]:
        """Requests of which a watcher is told that resumes after a snapshot."""
        after = Cursor(seen, {})
        async with self.catching_up.round(
            watcher or SubscriberQueue(), after, with_args=False
        ) as one:
            return [id_ async for id_ in _ids(one, after)]


async def _ids(one: ReplayRound, after: Cursor) -> AsyncIterator[str]:
    async for portion in one.missed(after):
        for change in portion.changes:
            yield change.request.request_id


async def test_watchers_that_come_while_a_round_begins_share_the_next_one() -> None:
    bench = Bench(5)
    bench.hub.may.clear()
    first = asyncio.create_task(bench.ids("10:10:"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(bench.ids(f"{seen}:{seen}:")) for seen in (10, 12, 14, 15)]
    await asyncio.sleep(0)
    bench.hub.may.set()

    assert len(await first) == 5
    assert [len(ids) for ids in await asyncio.gather(*others)] == [5, 3, 1, 0]
    assert bench.hub.rounds == [1, 4]
    assert bench.database.reads == ["10:10:", "10:10:"]
    assert bench.views.read == 5


async def test_a_cursor_that_is_ahead_of_the_database_is_refused() -> None:
    with pytest.raises(CursorTooOld):
        await Bench(1).ids("1001:1001:")


async def test_only_the_cursors_that_are_too_old_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CHANGED", 3)
    bench = Bench(5)
    seen = ["10:10:", "11:11:", "12:12:", "10:14:11", "10:12:"]
    tasks = [asyncio.create_task(bench.ids(one)) for one in seen]
    await asyncio.wait(tasks)

    too_old, still, new, gaps, no_gap = tasks
    for one in (too_old, still):
        assert isinstance(one.exception(), CursorTooOld)
    assert new.result() == ["r2", "r3", "r4"]
    assert gaps.result() == ["r1", "r4"]
    assert no_gap.result() == ["r2", "r3", "r4"]


async def test_a_failure_to_begin_ends_every_watcher_of_the_round_and_no_later_one() -> None:
    bench = Bench(1)
    bench.hub.failure = DatabaseUnavailable()
    results = await asyncio.gather(*(bench.ids("10:10:") for _ in range(2)), return_exceptions=True)
    assert all(isinstance(one, DatabaseUnavailable) for one in results)

    bench.hub.failure = None
    assert await bench.ids("10:10:") == ["r0"]


async def test_a_watcher_that_goes_while_its_round_begins_holds_up_no_other() -> None:
    bench = Bench(1)
    bench.hub.may.clear()
    goes = asyncio.create_task(bench.ids("10:10:"))
    await bench.hub.begun.acquire()
    stays = asyncio.create_task(bench.ids("10:10:"))
    await asyncio.sleep(0)
    goes.cancel()
    await asyncio.wait([goes])
    await bench.hub.begun.acquire()
    bench.hub.may.set()

    assert await stays == ["r0"]
    assert not bench.catching_up._rounds


@pytest.mark.parametrize("transactions", [20, 1])
async def test_one_who_does_not_read_gives_up_its_round_and_goes_on_in_another(
    monkeypatch: pytest.MonkeyPatch, transactions: int
) -> None:
    monkeypatch.setattr(module, "TURN", 0.0)
    monkeypatch.setattr(module, "HELD_AT_ONCE", 20)
    monkeypatch.setattr(missed, "PORTION_REQUESTS", 4)
    monkeypatch.setattr(watch, "SENT_AT_ONCE", 0)
    monkeypatch.setattr(watch, "MAX_PIECE", 0)
    bench = Bench(20)
    bench.database.rows = [
        (min(number, 9 + transactions), row) for number, row in bench.database.rows
    ]
    slow = bench.watch.many(RequestFilter(), WatchOptions(), Cursor("10:10:", {}).text)
    told = [await anext(slow)]
    (held,) = bench.catching_up._rounds

    assert len(await bench.ids("10:10:")) == 20
    assert not held._missed.changed
    read = bench.views.read
    async for message in slow:
        told.append(message)
        if rpc.WatchResponse.FromString(message).cursor == UNTIL.text:
            break
    await slow.aclose()

    ids = [one.request_id for raw in told for one in rpc.WatchResponse.FromString(raw).events]
    assert ids == [f"r{number}" for number in range(20)]
    assert bench.hub.rounds == [1, 1, 1]
    assert bench.views.read == read


async def test_one_who_is_slower_than_others_with_its_cursor_misses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(missed, "PORTION_REQUESTS", 1)
    monkeypatch.setattr(catch_up_round, "PORTIONS_KEPT", 3)
    bench = Bench(20)
    after = Cursor("10:10:", {})

    async def follow(may_go_on: asyncio.Event) -> list[str]:
        ids: list[str] = []
        async with bench.catching_up.round(SubscriberQueue(), after, with_args=False) as one:
            async for id_ in _ids(one, after):
                assert len(one._portions) <= 3
                ids.append(id_)
                await may_go_on.wait()
        return ids

    fast, slow = asyncio.Event(), asyncio.Event()
    fast.set()
    following = [asyncio.create_task(follow(event)) for event in (fast, slow)]
    expected = [f"r{number}" for number in range(20)]
    assert await following[0] == expected
    slow.set()
    assert await following[1] == expected
    assert bench.hub.rounds == [2]


async def test_no_message_is_larger_than_the_limit_unless_one_event_alone_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "MAX_PIECE", 1000)
    monkeypatch.setattr(watch, "SENT_AT_ONCE", 10**9)
    bench = Bench(30)
    bench.database.rows[7] = 17, a_request(State.FAIL, request_id="large", reason="x" * 3000)
    many = bench.watch.many(RequestFilter(), WatchOptions(), Cursor("10:10:", {}).text)
    sizes: list[int] = []
    ids: list[str] = []
    async for message in many:
        response = rpc.WatchResponse.FromString(message)
        ids += [event.request_id for event in response.events]
        if len(response.events) > 1:
            sizes.append(len(message) - len(response.cursor))
        if response.cursor:
            break
    await many.aclose()

    assert len(ids) == 30
    assert max(sizes) <= 1000 + 10
    assert len(sizes) > 1


def a_piece(number: int, bytes_: int) -> EncodedEvent:
    row = a_request(State.FAIL, request_id=f"r{number}", reason="x" * bytes_)
    return request_change(row, State.RUNNING, 7)


async def test_what_happens_is_sent_in_messages_that_end_where_a_cursor_is() -> None:
    many = watch.FilterSubscription(cast("watch.ReadChain", None), RequestFilter(), WatchOptions())
    begun = Checkpoint("a1:1:")
    batch = [begun, *(a_piece(n, 20_000) for n in range(3)), Checkpoint("a2:2:"),
             *(a_piece(n, 20_000) for n in range(3, 6)), Checkpoint("a3:3:")]  # fmt: skip
    messages = [rpc.WatchResponse.FromString(raw) async for raw in many.told(batch, begun)]

    assert [(len(one.events), one.cursor) for one in messages] == [(3, "a2:2:"), (3, "a3:3:")]


async def test_a_piece_larger_than_clients_take_is_sent_in_several_messages() -> None:
    many = watch.FilterSubscription(cast("watch.ReadChain", None), RequestFilter(), WatchOptions())
    begun = Checkpoint("a1:1:")
    batch = [begun, *(a_piece(n, 1_000_000) for n in range(5)), Checkpoint("a2:2:")]
    messages = [raw async for raw in many.told(batch, begun)]
    responses = [rpc.WatchResponse.FromString(raw) for raw in messages]

    assert max(map(len, messages)) <= CLIENT_MESSAGE_BYTES
    assert [(len(one.events), one.cursor) for one in responses] == [(3, ""), (2, "a2:2:")]


def test_a_later_read_holds_the_rows_of_an_earlier_one_where_they_are_equal() -> None:
    earlier = ChangedRequest(
        [(5, a_request(request_id="same")), (6, a_request(request_id="moved"))]
    )
    later = ChangedRequest([(5, a_request(request_id="same")), (7, a_request(request_id="moved"))])
    later.share(earlier)

    assert later.rows[0] is earlier.rows[0]
    assert later.by_id["same"] is earlier.by_id["same"]
    assert later.rows[1] is not earlier.rows[1]
