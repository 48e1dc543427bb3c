from __future__ import annotations

import asyncio
import random
import signal
import time

import grpc
import pytest
from tests.chaos.cluster import Cluster
from tests.chaos.load import Load
from tests.chaos.storm import Storm

from spincycle.v1 import request_manager_service_pb2 as rpc

AWAY = 20.0
"""Seconds for which the database is away."""

AT_ONCE = 2.0
"""Seconds within which a create that cannot be stored must be refused."""


@pytest.mark.chaos
@pytest.mark.timeout(400)
async def test_nothing_is_lost_when_the_database_is_away_for_longer_than_the_silence_limit(
    cluster: Cluster, load: Load
) -> None:
    storm = Storm(cluster, load)
    pids = [member.pid for member in cluster.members]
    refusals: list[float] = []

    async def faults() -> None:
        await asyncio.sleep(3)
        await cluster.database.kill(signal.SIGQUIT)
        until = time.monotonic() + AWAY
        while time.monotonic() < until:
            refusals.append(await seconds_until_refused(load))
            await asyncio.sleep(1)
        await cluster.database.start()
        await asyncio.sleep(5)

    await storm.blow(faults, rate=5, ms=300)

    verdict = await storm.verdict()
    print(verdict.figures(), dict(load.answers), f"creates refused in {max(refusals):.2f} s")
    assert verdict.wrong == []
    assert max(refusals) < AT_ONCE
    assert [member.pid for member in cluster.members] == pids


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_nothing_is_lost_when_the_database_is_restarted_at_random(
    cluster: Cluster, load: Load
) -> None:
    storm = Storm(cluster, load)
    draw = random.Random(2)

    async def faults() -> None:
        for _ in range(10):
            await asyncio.sleep(draw.uniform(1, 6))
            await cluster.database.kill(draw.choice([signal.SIGQUIT, signal.SIGKILL]))
            await asyncio.sleep(draw.uniform(0, 4))
            await cluster.database.start()
            if draw.random() < 0.5:
                await storm.kill(draw.choice(cluster.members))

    await storm.blow(faults, rate=5, ms=300)

    verdict = await storm.verdict()
    print(verdict.figures(), dict(storm.kills), dict(load.answers))
    assert verdict.wrong == []


async def seconds_until_refused(load: Load) -> float:
    request = rpc.CreateRequest(type="busy")
    began = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await load.stub.Create(request, timeout=30)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
    return time.monotonic() - began
