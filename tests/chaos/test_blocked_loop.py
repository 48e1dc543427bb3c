"""Jobs that block the event loop of their runner, beside others that do not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.load import Load
from tests.chaos.marks import END, START
from tests.chaos.member import Member
from tests.waiting import until

from spincycle.runtime.loop_monitor import EXIT_LOOP_BLOCKED
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2

METRICS = {"JR": {"METRICS__LISTEN": "127.0.0.1:0"}}
ONE_OF_EACH = Shape(1, 1, 1, gateway=False, settings=METRICS)
SMALL_LIMIT = Shape(gateway=False, settings={"JR": {"LOOP_BLOCK_LIMIT": "3"}})

FAIL, COMPLETE = state_pb2.STATE_FAIL, state_pb2.STATE_COMPLETE


@pytest.mark.parametrize("shape", [ONE_OF_EACH])
async def test_a_job_that_blocks_the_loop_is_named_and_times_out_and_harms_no_other(
    cluster: Cluster, load: Load
) -> None:
    await block_for(1500, cluster, load)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", [Shape(gateway=False, settings=METRICS)])
async def test_a_job_that_blocks_the_loop_for_longer_than_the_silence_limit_evicts_nobody(
    cluster: Cluster, load: Load
) -> None:
    await block_for(14_000, cluster, load)


async def block_for(ms: int, cluster: Cluster, load: Load) -> None:
    """Run a job that blocks for so long beside innocent ones, and check what became of all."""
    innocent = [await load.create("busy", 500) for _ in range(6)]
    await until(lambda: {mark.request_id for mark in cluster.marks()} == set(innocent))

    blocking = await load.create("block-loop", ms)
    await until(lambda: any(mark.request_id == blocking for mark in cluster.marks()))
    for _ in range(2):
        await load.create("once", 100)

    assert await load.until_final(120) == []
    states = {id_: await state(load, id_) for id_ in load.acknowledged}
    assert {id_ for id_, found in states.items() if found != COMPLETE} == {blocking}
    assert states[blocking] == FAIL
    marks = [mark.event for mark in cluster.marks() if mark.request_id == blocking]
    assert marks == [START, END]
    database = await cluster.connect()
    assert await database.fetchval(ERRORS, blocking) == ("run timeout: the try took longer than 1s")
    assert await database.fetchval(DEREGISTERED) == 0
    # Nothing was taken from the blocked runner.
    assert await database.fetchval(MOVED, innocent) == 0
    await database.close()

    (named,) = blocks(cluster, "event loop blocked", blocking)
    assert (named["job_type"], named["path"]) == ("block-loop", "block")
    file = str(Path(__file__).with_name("jobs.py"))
    assert re.fullmatch(re.escape(file) + r":\d+", named["line"])
    assert "BlockLoopJob.run" in named["stack"]
    (end,) = blocks(cluster, "event loop no longer blocked", blocking)
    assert ms / 1000 - 0.2 < end["seconds"]
    texts = [await metrics(runner) for runner in cluster.job_runners]
    count = 'spincycle_event_loop_lag_seconds_count{job_type="block-loop"} 1.0'
    assert sum(count in text for text in texts) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", [SMALL_LIMIT])
async def test_a_job_that_blocks_the_loop_for_ever_ends_its_runner_and_the_others_go_on_elsewhere(
    cluster: Cluster, load: Load
) -> None:
    for _ in range(6):
        await load.create("busy", 2000)
    await until(lambda: len({mark.pid for mark in cluster.marks()}) == 2)

    blocking = await load.create("block-loop-forever", 0)
    await until(lambda: any(each.exit_code is not None for each in cluster.job_runners))

    assert await load.until_final(120) == []
    states = {id_: await state(load, id_) for id_ in load.acknowledged}
    assert {id_ for id_, found in states.items() if found != COMPLETE} == {blocking}
    assert states[blocking] == FAIL
    (ended,) = [each for each in cluster.job_runners if each.exit_code is not None]
    assert ended.exit_code == EXIT_LOOP_BLOCKED
    (line,) = logged(ended, "event loop blocked for too long; the process exits, to be restarted")
    assert (line["request_id"], line["job_type"]) == (blocking, "block-loop-forever")
    assert line["seconds"] >= 3
    (child,) = [mark for mark in cluster.marks() if mark.event.startswith("child-")]
    assert not is_alive(int(child.event.removeprefix("child-")))


ERRORS = "SELECT error FROM job_log.entries WHERE request_id = $1 AND error <> ''"
DEREGISTERED = "SELECT count(*) FROM request_manager.runners WHERE deregistered_at IS NOT NULL"
MOVED = "SELECT count(*) FROM request_manager.requests WHERE epoch > 1 AND request_id = ANY($1)"


async def state(load: Load, request_id: str) -> state_pb2.State.ValueType:
    response = await load.stub.Get(rpc.GetRequest(request_id=request_id))
    return response.request.state


def logged(member: Member, event: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in member.log.read_text().splitlines() if line[:1] == "{")
    return [line for line in lines if line["event"] == event]


def blocks(cluster: Cluster, event: str, request_id: str) -> list[dict[str, Any]]:
    """Return what runners have logged of a request; a busy machine blocks loops, too."""
    lines = [line for runner in cluster.job_runners for line in logged(runner, event)]
    return [line for line in lines if line.get("request_id") == request_id]


async def metrics(runner: Member) -> str:
    (serving,) = logged(runner, "serving metrics")
    async with httpx.AsyncClient(base_url=f"http://{serving['address']}") as client:
        return (await client.get("/metrics")).text


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
