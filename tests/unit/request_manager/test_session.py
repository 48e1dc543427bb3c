from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import cast

import pytest
from tests.unit.request_manager.idle_sources import NoFeeds, UnchangedStore
from tests.unit.request_manager.sample_request import a_request

from spincycle.model.revision import ended, revision_of
from spincycle.model.state import State
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.hub import Hub
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.snapshots import RequestSnapshot, RequestSnapshots
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue


class Requests:
    """Requests as the list of live ones has them, and as they are a moment later."""

    def __init__(self, live: list[Request], current: list[Request]) -> None:
        self._live = live
        self._current = {row.request_id: row for row in current}

    async def live_requests(self) -> list[Request]:
        return self._live

    async def current(
        self, rows: Iterable[Request], known: Mapping[str, int]
    ) -> list[RequestSnapshot]:
        current = [self._current[row.request_id] for row in rows]
        return [
            RequestSnapshot(row, revision_of(1, 5) if row.state is State.RUNNING else ended(1))
            for row in current
        ]


def a_hub(requests: Requests) -> Hub:
    return Hub(
        cast("ChangeStore", UnchangedStore()),
        cast("RunnerFeeds", NoFeeds()),
        ChangeBus(),
        cast("RequestSnapshots", requests),
    )


@pytest.mark.parametrize("has_ended", [True, False])
async def test_only_live_requests_are_tracked_for_filter_subscribers(has_ended: bool) -> None:
    running = a_request(request_id="a")
    current = a_request(request_id="a", state=State.COMPLETE) if has_ended else running

    async with a_hub(Requests([running], [current])).session() as session:
        await session.subscribe_filter(SubscriberQueue())
        _, live = await session.start_replay([], {})

    assert ("a" in live) is not has_ended


async def test_the_first_filter_subscriber_delays_no_other_subscriber() -> None:
    class NeverDescribed(Requests):
        async def current(
            self, rows: Iterable[Request], known: Mapping[str, int]
        ) -> list[RequestSnapshot]:
            described.set()
            await asyncio.Event().wait()
            return []

    described = asyncio.Event()
    hub = a_hub(NeverDescribed([a_request(request_id="a")], []))

    async def subscribe() -> None:
        async with hub.session() as session:
            await session.subscribe_filter(SubscriberQueue())

    first = asyncio.create_task(subscribe())
    await described.wait()

    async with hub.session() as session:
        session.subscribe(SubscriberQueue(), a_request(request_id="b"))

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
