"""Runners of a rolling change that do not have the same job types."""

from __future__ import annotations

import signal

import pytest
from tests.chaos.cluster import JOBS, Cluster, Shape
from tests.chaos.load import Load
from tests.chaos.storm import Storm
from tests.waiting import until

from spincycle.v1 import request_manager_service_pb2 as rpc

REQUESTS = 40

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.mark.parametrize("shape", [Shape(gateway=False)])
async def test_no_request_of_a_rolling_change_goes_to_a_runner_without_its_job_types(
    cluster: Cluster,
) -> None:
    load = Load(cluster.request_manager, seed=1, types=["busy"])
    storm = Storm(cluster, load)
    database = await cluster.connect()

    async def restart(number: int, jobs: str) -> None:
        """Restart a runner with other jobs under load, and return when it is registered."""
        runner = cluster.job_runners[number]
        await runner.end(signal.SIGTERM)
        known = await database.fetchval("SELECT count(*) FROM request_manager.runners")
        runner.configure(SPINCYCLE_JR_JOBS=jobs)
        runner.start()
        query = f"SELECT count(*) > {known} FROM request_manager.runners"
        await until(lambda: database.fetchval(query))
        created = len(load.acknowledged)
        await until(lambda: len(load.acknowledged) >= created + REQUESTS)

    async def faults() -> None:
        await restart(0, "[]")
        await restart(0, JOBS)
        await restart(1, "[]")

    await storm.blow(faults, rate=10, ms=100)

    ended = await database.fetch("SELECT state, count(*) FROM request_manager.requests GROUP BY 1")
    assert {row["state"]: row["count"] for row in ended} == {3: len(load.acknowledged)}
    await load.close()
    await database.close()


@pytest.mark.parametrize("shape", [Shape(gateway=False)])
async def test_requests_wait_for_their_job_types_and_say_so_while_no_runner_has_them(
    cluster: Cluster, load: Load
) -> None:
    for runner in cluster.job_runners:
        await runner.end(signal.SIGTERM)
        runner.configure(SPINCYCLE_JR_JOBS="[]")
        runner.start()
    request_id = await load.create("once", 100)

    async def waits_for() -> str:
        request = rpc.ExplainRequest(request_id=request_id)
        return (await load.stub.Explain(request)).message

    async def is_explained() -> bool:
        lacking = "no live runner has job types mark, mark-once; 2 runners lack them"
        return await waits_for() == lacking

    await until(is_explained)
    await cluster.job_runners[0].end(signal.SIGTERM)
    cluster.job_runners[0].configure(SPINCYCLE_JR_JOBS=JOBS)
    cluster.job_runners[0].start()
    assert await load.until_final(60) == []
