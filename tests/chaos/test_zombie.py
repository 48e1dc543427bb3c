from __future__ import annotations

import asyncio
import signal
import time

import pytest
from tests.chaos.cluster import Cluster
from tests.chaos.load import Load
from tests.chaos.storm import Storm

FROZEN = 30.0
"""Seconds for which the runner is frozen; it is given up after 8."""


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_a_runner_that_was_frozen_is_fenced_and_advances_nothing_afterwards(
    cluster: Cluster, load: Load
) -> None:
    storm = Storm(cluster, load)
    zombie = cluster.job_runners[0]

    async def faults() -> None:
        for _ in range(10):
            await load.create("busy", 1500)
        await asyncio.sleep(3)
        zombie.send(signal.SIGSTOP)
        storm.deaths.append((zombie.pid, time.time()))
        await asyncio.sleep(FROZEN)
        zombie.send(signal.SIGCONT)
        await asyncio.sleep(5)

    await storm.blow(faults, rate=3, ms=400)

    verdict = await storm.verdict()
    said = zombie.log.read_text()
    print(verdict.figures(), dict(load.answers))
    assert verdict.wrong == []
    assert verdict.slow == []
    assert "runner evicted" in said
    assert await running_jobs(load) == 0


async def running_jobs(load: Load) -> int:
    from spincycle.v1 import request_manager_service_pb2 as rpc

    response = await load.stub.ListRunningJobs(rpc.ListRunningJobsRequest(), timeout=10)
    return len(response.status.jobs)
