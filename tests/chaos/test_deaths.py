from __future__ import annotations

import asyncio
import os

import pytest
from tests.chaos.cluster import Cluster
from tests.chaos.load import Load
from tests.chaos.marks import START, Mark
from tests.chaos.storm import SETTLED_WITHIN, Storm
from tests.waiting import until

from spincycle.chain.chain_state import INTERRUPTED
from spincycle.model.state import State

KILLS = int(os.environ.get("CHAOS_KILLS", "200"))

TIMEOUT = 45.0
"""Seconds; the timeout of the request type "limited"."""

BEGUN = """
SELECT started_at / 1e9::float8 FROM job_log.entries WHERE request_id = $1 AND position = 1
"""
ENDED = """
SELECT state, reason, extract(epoch FROM finished_at)::float8 AS finished_at
  FROM request_manager.requests WHERE request_id = $1
"""


async def test_nothing_is_lost_when_each_kind_of_process_is_killed_under_load(
    cluster: Cluster, load: Load
) -> None:
    storm = Storm(cluster, load)

    async def faults() -> None:
        for member in (
            cluster.job_runners[0],
            cluster.request_managers[0],
            cluster.job_logs[0],
            cluster.gateways[0],
        ):
            await asyncio.sleep(1.5)
            await storm.kill(member)
        await asyncio.sleep(1.5)

    await storm.blow(faults, rate=6, ms=150)

    verdict = await storm.verdict()
    print(verdict.figures(), dict(storm.kills), dict(load.answers))
    assert verdict.wrong == []
    assert verdict.slow == []


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1])
async def test_nothing_is_lost_in_many_kills_at_random(
    cluster: Cluster, load: Load, seed: int
) -> None:
    storm = Storm(cluster, load)

    await storm.blow(lambda: storm.kill_at_random(KILLS, seed, pause=(0.5, 2.0)), rate=4, ms=250)

    verdict = await storm.verdict()
    print(verdict.figures(), dict(storm.kills), dict(load.answers))
    assert verdict.wrong == []
    assert verdict.slow == []


@pytest.mark.chaos
async def test_requests_of_a_runner_that_never_comes_back_go_on_elsewhere_in_time(
    cluster: Cluster, load: Load
) -> None:
    storm = Storm(cluster, load)
    for _ in range(20):
        await load.create("busy", 1000)
    await until(lambda: len(cluster.marks()) > 50)

    await storm.kill(cluster.job_runners[0], again=False)
    await load.until_final(SETTLED_WITHIN)
    cluster.job_runners[0].start()
    await storm.settled()

    verdict = await storm.verdict()
    print(verdict.figures())
    assert verdict.wrong == []
    assert verdict.recoveries
    assert verdict.slow == []


@pytest.mark.chaos
async def test_a_job_that_must_not_be_repeated_fails_when_its_runner_dies(
    cluster: Cluster, load: Load
) -> None:
    storm = Storm(cluster, load)

    await load.create("once", 4000)
    await until(lambda: [mark for mark in cluster.marks() if mark.name == "once"])
    pid = cluster.marks()[-1].pid
    for member in cluster.job_runners:
        if member.pid == pid:
            await storm.kill(member)
    await storm.settled()

    verdict = await storm.verdict()
    (request,) = verdict.testimony.requests.values()
    errors = [entry.error for entry in verdict.testimony.entries if entry.final]
    assert verdict.wrong == []
    assert request.state is State.FAIL
    assert errors == [INTERRUPTED]


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_a_timeout_counts_from_the_begin_of_a_request_over_three_dead_runners(
    cluster: Cluster, load: Load
) -> None:
    def long_tries() -> list[Mark]:
        return [mark for mark in cluster.marks() if (mark.name, mark.event) == ("long", START)]

    request_id = await load.create("limited", 3_600_000)
    for number in range(1, 4):
        await until(lambda number=number: len(long_tries()) == number)
        pid = long_tries()[-1].pid
        (runner,) = (member for member in cluster.job_runners if member.pid == pid)
        await runner.kill()
        runner.start()
    assert await load.until_final(SETTLED_WITHIN) == []

    connection = await cluster.connect()
    begun = await connection.fetchval(BEGUN, request_id)
    (ended,) = await connection.fetch(ENDED, request_id)
    await connection.close()
    used = ended["finished_at"] - begun
    last = ended["finished_at"] - long_tries()[-1].at
    print(f"{len(long_tries())} tries, ended after {used:.3f} s, the last one after {last:.3f} s")
    assert State(ended["state"]) is State.FAIL
    assert ended["reason"] == "the request took longer than 45s"
    assert used >= TIMEOUT - 0.001
    assert last < TIMEOUT
