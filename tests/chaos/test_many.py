from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.load import Load
from tests.heartbeats import Silences

from spincycle.model.state import State
from spincycle.v1 import request_manager_service_pb2 as rpc

REQUESTS = 10_000
AT_A_TIME = 200

STOPPED_WITHIN = 60.0
"""Seconds for the stop of all, on a machine with two slow cores that do everything."""

COUNTS = "SELECT state, count(*) AS requests FROM request_manager.requests GROUP BY state"


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("shape", [Shape(job_runners=1, gateway=False)])
async def test_ten_thousand_requests_run_at_once_on_one_runner(
    cluster: Cluster, load: Load
) -> None:
    runner = cluster.job_runners[0]
    before = resident(runner.pid)
    connection = await cluster.connect()
    silences = Silences(connection)

    async def counted(state: State) -> int:
        rows = await connection.fetch(COUNTS)
        await silences.sample()
        counts: dict[int, int] = {row["state"]: row["requests"] for row in rows}
        return counts.get(int(state), 0)

    async def reached(state: State) -> None:
        while await counted(state) < REQUESTS:  # noqa: ASYNC110 # the database does not tell
            await asyncio.sleep(0.2)

    began = time.monotonic()
    for _ in range(REQUESTS // AT_A_TIME):
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_A_TIME):
                group.create_task(load.create("sleeping", 3_600_000))
    created = time.monotonic() - began
    await reached(State.RUNNING)
    running = time.monotonic() - began
    for _ in range(10):
        await counted(State.RUNNING)
        await asyncio.sleep(1)
    each = (resident(runner.pid) - before) / REQUESTS

    began = time.monotonic()
    ids = list(load.acknowledged)
    for start in range(0, REQUESTS, AT_A_TIME):
        async with asyncio.TaskGroup() as group:
            for request_id in ids[start : start + AT_A_TIME]:
                group.create_task(stop(load, request_id))
    asked = time.monotonic() - began
    await reached(State.STOPPED)
    stopped = time.monotonic() - began
    await connection.close()

    print(
        f"{REQUESTS} requests created in {created:.1f} s and running after {running:.1f} s, "
        f"{each / 1024:.1f} KiB of the runner's memory each; longest silence between two beats "
        f"{silences.longest:.1f} s; stops asked for in {asked:.1f} s, all stopped after "
        f"{stopped:.1f} s"
    )
    assert len(load.acknowledged) == REQUESTS
    assert "given up" not in runner.log.read_text()
    assert silences.longest < 8
    assert stopped < STOPPED_WITHIN


async def stop(load: Load, request_id: str) -> None:
    await load.stub.Stop(rpc.StopRequest(request_id=request_id), timeout=30)


def resident(pid: int) -> int:
    """Bytes of memory that a process has for itself."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss_Anon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no such line")
