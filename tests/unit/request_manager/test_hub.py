from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

from tests.unit.request_manager.idle_sources import NoFeeds, UnchangedStore

from spincycle.request_manager.storage.change_bus import ChangeBus, Subscriber
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.watch.hub import Hub
from spincycle.request_manager.watch.runner_feeds import FeedListener, RunnerFeeds
from spincycle.request_manager.watch.snapshots import RequestSnapshots


class SlowFeeds(NoFeeds):
    """Feeds of a database that responds to the second attempt only."""

    def __init__(self) -> None:
        super().__init__()
        self.opening = asyncio.Event()

    async def open(self, listener: FeedListener) -> None:
        await super().open(listener)
        if not self.opening.is_set():
            self.opening.set()
            await asyncio.Event().wait()


class CancellingBus(ChangeBus):
    """Cancels the task that unsubscribes, as the end of a client's connection may."""

    def unsubscribe(self, subscriber: Subscriber, request_ids: Iterable[str] = ()) -> None:
        super().unsubscribe(subscriber, request_ids)
        current = asyncio.current_task()
        assert current is not None
        current.cancel()


def a_hub(feeds: NoFeeds, changes: ChangeBus) -> Hub:
    return Hub(
        cast("ChangeStore", UnchangedStore()),
        cast("RunnerFeeds", feeds),
        changes,
        cast("RequestSnapshots", None),
    )


class NeverConnected(NoFeeds):
    """Feeds of a runner that does not respond."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = asyncio.Event()

    async def wait_connected(self) -> None:
        self.waiting.set()
        await asyncio.Event().wait()


async def test_a_subscriber_cancelled_while_runners_connect_leaves_the_session_to_others() -> None:
    feeds = NeverConnected()
    hub = a_hub(feeds, ChangeBus())

    async def watch() -> None:
        async with hub.session():
            pass

    first = asyncio.create_task(watch())
    await feeds.waiting.wait()
    second = asyncio.create_task(watch())
    await asyncio.sleep(0)
    first.cancel()
    await second

    assert feeds.opened == 1


async def test_a_hub_starts_again_after_its_last_subscriber_was_cancelled_while_leaving() -> None:
    changes, feeds = CancellingBus(), NoFeeds()
    hub = a_hub(feeds, changes)

    async def watch() -> None:
        async with hub.session():
            assert changes._to_all

    for _ in range(2):
        (ended,), _ = await asyncio.wait([asyncio.create_task(watch())])
        assert ended.cancelled()

    assert feeds.opened == 2
    assert not changes._to_all


async def test_a_subscriber_cancelled_while_the_hub_starts_leaves_no_listener_behind() -> None:
    changes, feeds = ChangeBus(), SlowFeeds()
    hub = a_hub(feeds, changes)

    async def watch() -> None:
        async with hub.session():
            pass

    first = asyncio.create_task(watch())
    await feeds.opening.wait()
    second = asyncio.create_task(watch())
    await asyncio.sleep(0)
    first.cancel()
    await second

    assert not changes._to_all
