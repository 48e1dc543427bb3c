from __future__ import annotations

import asyncio
import signal

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.load import Load
from tests.chaos.storm import Storm
from tests.waiting import until

from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2


async def test_a_runner_that_is_asked_to_end_hands_its_requests_over(
    cluster: Cluster, load: Load
) -> None:
    storm = Storm(cluster, load)
    ended: list[int] = []

    async def faults() -> None:
        await asyncio.sleep(2)
        ended.append(await cluster.job_runners[0].end(signal.SIGTERM))
        cluster.job_runners[0].start()
        await asyncio.sleep(1)

    await storm.blow(faults, rate=5, ms=300)

    verdict = await storm.verdict()
    print(verdict.figures())
    assert verdict.wrong == []
    assert ended == [0]
    assert "before shutdown" not in cluster.job_runners[0].log.read_text()


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_every_process_drains_in_turn_and_all_at_once_without_a_loss(
    cluster: Cluster, load: Load
) -> None:
    storm = Storm(cluster, load)
    ended: dict[str, int] = {}

    async def faults() -> None:
        for member in cluster.members:
            await asyncio.sleep(2)
            ended[member.service.name] = await member.end(signal.SIGTERM)
            member.start()
        await asyncio.sleep(3)
        codes = await asyncio.gather(*(member.end(signal.SIGTERM) for member in cluster.members))
        ended["all at once"] = max(codes)
        for member in cluster.members:
            member.start()
        await asyncio.sleep(3)

    await storm.blow(faults, rate=4, ms=300)

    verdict = await storm.verdict()
    print(verdict.figures(), ended)
    assert verdict.wrong == []
    assert set(ended.values()) == {0}


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "shape", [Shape(gateway=False, settings={"JR": {"STOP_LIMIT": "2", "GRACE": "8"}})]
)
async def test_a_job_that_ignores_its_stop_does_not_keep_its_runner_from_ending(
    cluster: Cluster, load: Load
) -> None:
    request_id = await load.create("deaf", 3_600_000)
    await until(cluster.marks)
    pid = cluster.marks()[0].pid
    runner = next(member for member in cluster.job_runners if member.pid == pid)

    assert await runner.end(signal.SIGTERM) == 0

    async def runs() -> bool:
        response = await load.stub.Get(rpc.GetRequest(request_id=request_id))
        return response.request.state == state_pb2.STATE_RUNNING

    await until(lambda: len({mark.pid for mark in cluster.marks()}) == 2)
    # The job begins before its runner has answered, and the answer is what makes it RUNNING.
    await until(runs)
