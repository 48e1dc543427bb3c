from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import cast

import pytest
from tests.unit.request_manager.test_watcher import a_request

from spincycle.model.revision import ended, revision_of
from spincycle.model.state import State
from spincycle.request_manager.storage.change_bus import ChangeBus, Subscriber
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.hub import Hub
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.snapshots import RequestSnapshot, RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue


class AllKnown:
    def knows(self, runner_id: str) -> bool:
        return True


class Requests:
    """Requests as a list of those that live shows them, and as they are a moment later."""

    def __init__(self, live: list[Request], now: list[Request]) -> None:
        self._live = live
        self._now = {row.request_id: row for row in now}

    async def live(self) -> list[Request]:
        return self._live

    async def now_all(
        self, rows: Iterable[Request], known: Mapping[str, int]
    ) -> list[RequestSnapshot]:
        now = [self._now[row.request_id] for row in rows]
        return [
            RequestSnapshot(row, revision_of(1, 5) if row.state is State.RUNNING else ended(1))
            for row in now
        ]


def a_hub(requests: Requests) -> Hub:
    return Hub(
        cast("ChangeStore", None),
        cast("RunnerFeeds", AllKnown()),
        ChangeBus(),
        cast("RequestSnapshots", requests),
    )


@pytest.mark.parametrize("has_ended", [True, False])
async def test_only_what_lives_is_kept_for_those_who_watch_all(has_ended: bool) -> None:
    running = a_request(request_id="a")
    now = a_request(request_id="a", state=State.COMPLETE) if has_ended else running
    hub = a_hub(Requests([running], [now]))

    await hub.track_all(SubscriberQueue())

    assert ("a" in hub._teller.tracked) is not has_ended


async def test_one_who_named_a_request_that_had_ended_leaves_nothing_behind() -> None:
    hub = a_hub(Requests([], []))
    await hub.track_all(SubscriberQueue())
    named = SubscriberQueue()

    hub.track(named, a_request(request_id="a"))
    hub.forget(named, ["a"])

    assert "a" not in hub._teller.tracked


async def test_one_who_named_a_request_takes_nothing_from_who_watches_all() -> None:
    running = a_request(request_id="a")
    hub = a_hub(Requests([running], [running]))
    named = SubscriberQueue()
    hub.track(named, running)
    await hub.track_all(SubscriberQueue())

    hub.forget(named, ["a"])

    assert "a" in hub._teller.tracked


class NoStreams:
    """Feeds without a runner."""

    def __init__(self) -> None:
        self.started = 0

    async def refresh(self, hearer: object, *, anew: bool = False) -> None:
        self.started += 1

    async def begun(self) -> None:
        pass

    def close(self) -> list[asyncio.Task[None]]:
        return []


class StartsSlowly(NoStreams):
    """Feeds of a database that answers at the second attempt only."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def refresh(self, hearer: object, *, anew: bool = False) -> None:
        await super().refresh(hearer, anew=anew)
        if not self.asked.is_set():
            self.asked.set()
            await asyncio.Event().wait()


class Nothing:
    async def now(self) -> str:
        return "3:3:"


class CutsOff(ChangeBus):
    """Cancels who stops listening, as the end of a client's connection may."""

    def unsubscribe(self, subscriber: Subscriber, request_ids: Iterable[str] = ()) -> None:
        super().unsubscribe(subscriber, request_ids)
        current = asyncio.current_task()
        assert current is not None
        current.cancel()


async def test_one_who_is_cut_off_as_he_leaves_leaves_a_hub_that_starts_again() -> None:
    changes, feeds = CutsOff(), NoStreams()
    hub = Hub(
        cast("ChangeStore", Nothing()),
        cast("RunnerFeeds", feeds),
        changes,
        cast("RequestSnapshots", None),
    )

    async def watch() -> None:
        async with hub.watching():
            assert changes._to_all

    for _ in range(2):
        (ended,), _ = await asyncio.wait([asyncio.create_task(watch())])
        assert ended.cancelled()

    assert feeds.started == 2
    assert not changes._to_all


async def test_one_who_goes_while_the_hub_starts_leaves_no_listener_behind() -> None:
    changes, feeds = ChangeBus(), StartsSlowly()
    hub = Hub(
        cast("ChangeStore", Nothing()),
        cast("RunnerFeeds", feeds),
        changes,
        cast("RequestSnapshots", None),
    )

    async def watch() -> None:
        async with hub.watching():
            pass

    first = asyncio.create_task(watch())
    await feeds.asked.wait()
    second = asyncio.create_task(watch())
    await asyncio.sleep(0)
    first.cancel()
    await second

    assert not changes._to_all


async def test_who_begins_to_watch_all_holds_up_nobody_else() -> None:
    class NeverDescribed(Requests):
        async def now_all(
            self, rows: Iterable[Request], known: Mapping[str, int]
        ) -> list[RequestSnapshot]:
            described.set()
            await asyncio.Event().wait()
            return []

    described = asyncio.Event()
    hub = a_hub(NeverDescribed([a_request(request_id="a")], []))
    hub._tasks = [asyncio.create_task(asyncio.Event().wait())]  # type: ignore[arg-type]
    hub._watching = 1
    first = asyncio.create_task(hub.track_all(SubscriberQueue()))
    await described.wait()

    async with hub.watching():
        pass

    for task in (first, *hub._tasks):
        task.cancel()
    await asyncio.gather(first, *hub._tasks, return_exceptions=True)
