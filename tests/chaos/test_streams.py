from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, suppress

import pytest
from tests.chaos.cluster import Cluster
from tests.chaos.load import Load
from tests.chaos.storm import Storm
from tests.integration.streams.follower import Follower, check_order, following, shown
from tests.integration.streams.test_streams import journal

from spincycle.revision import parts_of

KILLS = 25
WATCHED = 20


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1])
async def test_watchers_are_told_all_and_nothing_twice_while_everything_is_killed_at_random(
    cluster: Cluster, load: Load, seed: int
) -> None:
    storm = Storm(cluster, load)
    draw = random.Random(seed)
    watched: dict[str, Follower] = {}

    async def watch(stack: AsyncExitStack) -> None:
        while len(watched) < WATCHED:
            await asyncio.sleep(0.5)
            for request_id in load.acknowledged.keys() - watched.keys():
                asked = following(cluster.request_manager, request_ids=[request_id])
                watched[request_id] = await stack.enter_async_context(asked)

    async def cut(every: list[Follower]) -> None:
        while True:
            await asyncio.sleep(draw.uniform(0.2, 1.0))
            for follower in draw.sample(every + list(watched.values()), 1):
                follower.cut()

    async with AsyncExitStack() as stack:
        of_all = await stack.enter_async_context(following(cluster.request_manager))
        await of_all.until(lambda: bool(of_all._asked.cursor))
        watching = asyncio.create_task(watch(stack))
        cutting = asyncio.create_task(cut([of_all]))
        await storm.blow(lambda: storm.kill_at_random(KILLS, seed, (0.5, 2.0)), rate=2, ms=200)
        for task in (watching, cutting):
            task.cancel()
        await asyncio.gather(watching, cutting, return_exceptions=True)
        for request_id, follower in watched.items():
            await follower.until(lambda f=follower, id_=request_id: f.has_ended(id_))
        with suppress(TimeoutError):
            await of_all.until(lambda: all(map(of_all.has_ended, load.acknowledged)))

    for request_id in load.acknowledged:
        assert of_all.has_ended(request_id), shown(of_all, request_id)

    check_order(of_all, snapshots_come_again=True)
    for follower in watched.values():
        check_order(follower)
    for request_id, follower in watched.items():
        # What had ended when the watch began is in its first snapshot.
        known = parts_of(follower.events[0].revision).position
        entries = await journal(cluster, request_id)
        assert follower.ends(request_id, entries) == entries[known:], shown(follower, request_id)
    print(
        f"{len(load.acknowledged)} requests, {len(watched)} of them watched by name, "
        f"{sum(f.connections for f in watched.values()) + of_all.connections} connections, "
        f"{len(of_all.events)} events of all, {dict(storm.kills)}"
    )
