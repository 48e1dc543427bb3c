from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import cast

import pytest
from tests.unit.request_manager.sample_request import a_request

from spincycle.errors import CursorTooOld, DatabaseUnavailable
from spincycle.model.state import State
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.model import Request, RequestFilter
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.request_manager.watch import cursor_replay as module
from spincycle.request_manager.watch import filter_subscription, replay_plan, replay_round
from spincycle.request_manager.watch.cursor import Cursor
from spincycle.request_manager.watch.cursor_replay import CursorReplay, ReplayStores
from spincycle.request_manager.watch.events import EncodedEvent, request_event
from spincycle.request_manager.watch.filter_subscription import FilterSubscription, ReadChain
from spincycle.request_manager.watch.hub import Hub
from spincycle.request_manager.watch.replay_plan import ChangedRequests
from spincycle.request_manager.watch.replay_round import ReplayRound
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.session import WatchSession
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

    async def changed(
        self, db_snapshot: str, limit: int, *, with_args: bool
    ) -> list[tuple[int, Request]]:
        self.reads.append(db_snapshot)
        visible = Cursor(db_snapshot, {}).visible
        return [(number, row) for number, row in self.rows if not visible.includes(number)][:limit]


class IdleSession:
    """A session in which nothing happens.

    Attributes:
        rounds: number of subscribers of each round.
    """

    def __init__(self) -> None:
        self.rounds: list[int] = []
        self.started = asyncio.Semaphore(0)
        self.may_continue = asyncio.Event()
        self.may_continue.set()
        self.failure: Exception | None = None

    async def start_replay(
        self, queues: Iterable[SubscriberQueue], offsets: Mapping[str, int]
    ) -> tuple[Cursor, dict[str, Request]]:
        self.rounds.append(len(list(queues)))
        self.started.release()
        await self.may_continue.wait()
        if self.failure is not None:
            raise self.failure
        return UNTIL, {}

    async def subscribe_filter(self, queue: SubscriberQueue) -> None:
        pass

    def unsubscribe_filter(self, queue: SubscriberQueue) -> None:
        pass

    async def put_checkpoint(self, queue: SubscriberQueue) -> Checkpoint:
        checkpoint = Checkpoint(UNTIL.text)
        queue.put_checkpoint(checkpoint)
        return checkpoint


class IdleHub:
    """A hub with an idle session."""

    def __init__(self, session: IdleSession) -> None:
        self._session = session

    @asynccontextmanager
    async def session(self) -> AsyncIterator[IdleSession]:
        yield self._session


class NoFeeds:
    runner_ids: Sequence[str] = ()


class StoredSnapshots:
    """Snapshots without jobs.

    Attributes:
        read: number of snapshots that were read.
    """

    def __init__(self) -> None:
        self.read = 0

    async def at_revisions(self, wanted: Sequence[tuple[Request, int]]) -> list[RequestSnapshot]:
        self.read += len(wanted)
        return [RequestSnapshot(row, revision) for row, revision in wanted]

    async def chain(self, request_id: str) -> None:
        pass


class Bench:
    """A replay, and streams, on an idle session."""

    def __init__(self, count: int) -> None:
        self.session = IdleSession()
        self.snapshots = StoredSnapshots()
        self.database = Database(count)
        hub = cast("Hub", IdleHub(self.session))
        snapshots = cast("RequestSnapshots", self.snapshots)
        shared = SharedSnapshots(snapshots)
        store = cast("RequestStore", None)
        stores = ReplayStores(store, cast("ChangeStore", self.database))
        self.replay = CursorReplay(stores, cast("RunnerFeeds", NoFeeds()), shared)
        self.subscriptions = Subscriptions(store, hub, self.replay, snapshots, shared)

    def round(self, after: Cursor) -> AbstractAsyncContextManager[ReplayRound]:
        """A round of a new subscriber that resumes after a cursor."""
        session = cast("WatchSession", self.session)
        return self.replay.round(session, SubscriberQueue(), after, with_args=False)

    async def ids(self, db_snapshot: str) -> list[str]:
        """Requests in the replay to a subscriber that resumes after a database snapshot."""
        after = Cursor(db_snapshot, {})
        async with self.round(after) as one:
            return [request_id async for request_id in _ids(one, after)]


async def _ids(one: ReplayRound, after: Cursor) -> AsyncIterator[str]:
    async for part in one.parts(after):
        for event in part.events:
            yield event.request.request_id


async def test_subscribers_that_arrive_while_a_round_starts_share_the_next_one() -> None:
    bench = Bench(5)
    bench.session.may_continue.clear()
    first = asyncio.create_task(bench.ids("10:10:"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(bench.ids(f"{seen}:{seen}:")) for seen in (10, 12, 14, 15)]
    await asyncio.sleep(0)
    bench.session.may_continue.set()

    assert len(await first) == 5
    assert [len(ids) for ids in await asyncio.gather(*others)] == [5, 3, 1, 0]
    assert bench.session.rounds == [1, 4]
    assert bench.database.reads == ["10:10:", "10:10:"]
    assert bench.snapshots.read == 5


async def test_a_cursor_ahead_of_the_database_is_rejected() -> None:
    with pytest.raises(CursorTooOld):
        await Bench(1).ids("1001:1001:")


async def test_only_cursors_that_are_too_old_are_rejected(
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


async def test_a_round_that_fails_to_start_fails_for_its_subscribers_and_no_later_one() -> None:
    bench = Bench(1)
    bench.session.failure = DatabaseUnavailable()
    results = await asyncio.gather(*(bench.ids("10:10:") for _ in range(2)), return_exceptions=True)
    assert all(isinstance(one, DatabaseUnavailable) for one in results)

    bench.session.failure = None
    assert await bench.ids("10:10:") == ["r0"]


async def test_a_subscriber_that_leaves_while_its_round_starts_delays_no_other() -> None:
    bench = Bench(1)
    bench.session.may_continue.clear()
    leaving = asyncio.create_task(bench.ids("10:10:"))
    await bench.session.started.acquire()
    staying = asyncio.create_task(bench.ids("10:10:"))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    await bench.session.started.acquire()
    bench.session.may_continue.set()

    assert await staying == ["r0"]
    assert not bench.replay._rounds


@pytest.mark.parametrize("transactions", [20, 1])
async def test_a_subscriber_that_does_not_read_loses_its_round_and_continues_in_another(
    monkeypatch: pytest.MonkeyPatch, transactions: int
) -> None:
    monkeypatch.setattr(module, "MAX_ROUND_DURATION", 0.0)
    monkeypatch.setattr(module, "MAX_HELD", 20)
    monkeypatch.setattr(replay_plan, "PART_REQUESTS", 4)
    monkeypatch.setattr(filter_subscription, "FLUSH_BYTES", 0)
    monkeypatch.setattr(filter_subscription, "MAX_REPLAY_BYTES", 0)
    bench = Bench(20)
    bench.database.rows = [
        (min(number, 9 + transactions), row) for number, row in bench.database.rows
    ]
    slow = bench.subscriptions.by_filter(RequestFilter(), WatchOptions(), Cursor("10:10:", {}).text)
    messages = [await anext(slow)]
    (held,) = bench.replay._rounds

    assert len(await bench.ids("10:10:")) == 20
    assert not held._source.changed
    read = bench.snapshots.read
    async for message in slow:
        messages.append(message)
        if rpc.WatchResponse.FromString(message).cursor == UNTIL.text:
            break
    await slow.aclose()

    ids = [one.request_id for raw in messages for one in rpc.WatchResponse.FromString(raw).events]
    assert ids == [f"r{number}" for number in range(20)]
    assert bench.session.rounds == [1, 1, 1]
    assert bench.snapshots.read == read


async def test_a_subscriber_slower_than_others_with_its_cursor_misses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replay_plan, "PART_REQUESTS", 1)
    monkeypatch.setattr(replay_round, "CACHED_PARTS", 3)
    bench = Bench(20)
    after = Cursor("10:10:", {})

    async def follow(may_continue: asyncio.Event) -> list[str]:
        ids: list[str] = []
        async with bench.round(after) as one:
            async for id_ in _ids(one, after):
                assert len(one._parts) <= 3
                ids.append(id_)
                await may_continue.wait()
        return ids

    fast, slow = asyncio.Event(), asyncio.Event()
    fast.set()
    following = [asyncio.create_task(follow(event)) for event in (fast, slow)]
    expected = [f"r{number}" for number in range(20)]
    assert await following[0] == expected
    slow.set()
    assert await following[1] == expected
    assert bench.session.rounds == [2]


async def test_no_message_is_larger_than_the_limit_unless_one_event_alone_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filter_subscription, "MAX_REPLAY_BYTES", 1000)
    monkeypatch.setattr(filter_subscription, "FLUSH_BYTES", 10**9)
    bench = Bench(30)
    bench.database.rows[7] = 17, a_request(State.FAIL, request_id="large", reason="x" * 3000)
    stream = bench.subscriptions.by_filter(
        RequestFilter(), WatchOptions(), Cursor("10:10:", {}).text
    )
    sizes: list[int] = []
    ids: list[str] = []
    async for message in stream:
        response = rpc.WatchResponse.FromString(message)
        ids += [event.request_id for event in response.events]
        if len(response.events) > 1:
            sizes.append(len(message) - len(response.cursor))
        if response.cursor:
            break
    await stream.aclose()

    assert len(ids) == 30
    assert max(sizes) <= 1000 + 10
    assert len(sizes) > 1


def a_large_event(number: int, size: int) -> EncodedEvent:
    row = a_request(State.FAIL, request_id=f"r{number}", reason="x" * size)
    return request_event(row, State.RUNNING, 7)


async def test_live_events_are_sent_in_messages_that_end_at_a_cursor() -> None:
    subscription = FilterSubscription(cast("ReadChain", None), RequestFilter(), WatchOptions())
    first = Checkpoint("a1:1:")
    batch: list[EncodedEvent | Checkpoint] = [
        first,
        *(a_large_event(n, 20_000) for n in range(3)),
        Checkpoint("a2:2:"),
        *(a_large_event(n, 20_000) for n in range(3, 6)),
        Checkpoint("a3:3:"),
    ]
    messages = [
        rpc.WatchResponse.FromString(raw) async for raw in subscription.encode(batch, first)
    ]

    assert [(len(one.events), one.cursor) for one in messages] == [(3, "a2:2:"), (3, "a3:3:")]


async def test_a_batch_larger_than_clients_accept_is_sent_in_several_messages() -> None:
    subscription = FilterSubscription(cast("ReadChain", None), RequestFilter(), WatchOptions())
    first = Checkpoint("a1:1:")
    batch: list[EncodedEvent | Checkpoint] = [
        first,
        *(a_large_event(n, 1_000_000) for n in range(5)),
        Checkpoint("a2:2:"),
    ]
    messages = [raw async for raw in subscription.encode(batch, first)]
    responses = [rpc.WatchResponse.FromString(raw) for raw in messages]

    assert max(map(len, messages)) <= CLIENT_MESSAGE_BYTES
    assert [(len(one.events), one.cursor) for one in responses] == [(3, ""), (2, "a2:2:")]


def test_a_later_read_shares_the_equal_rows_of_an_earlier_one() -> None:
    earlier = ChangedRequests(
        [(5, a_request(request_id="same")), (6, a_request(request_id="moved"))]
    )
    later = ChangedRequests([(5, a_request(request_id="same")), (7, a_request(request_id="moved"))])
    later.share(earlier)

    assert later.rows[0] is earlier.rows[0]
    assert later.by_id["same"] is earlier.by_id["same"]
    assert later.rows[1] is not earlier.rows[1]
