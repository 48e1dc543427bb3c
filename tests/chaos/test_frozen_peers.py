"""One process of each kind in turn is frozen for longer than a keepalive, and goes on later.

Faults made here, chosen before any of them was run: SIGSTOP for 30 s, then SIGCONT, under load,
with watchers of all requests and of single ones, and with HTTP clients of two gateways, of

1. a request manager,
2. a job log,
3. a runner,
4. a gateway.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.explained import explaining
from tests.chaos.load import Load
from tests.chaos.member import Member
from tests.chaos.observers import observing
from tests.chaos.storm import Storm

from spincycle.rpc.limits import SERVER_KEEPALIVE

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

FROZEN = SERVER_KEEPALIVE.interval + SERVER_KEEPALIVE.timeout + 5.0
"""Seconds for which a process is frozen: by then both ends of each connection have closed it."""

PICK: dict[str, Callable[[Cluster], Member]] = {
    "request-manager": lambda cluster: cluster.request_managers[0],
    "job-log": lambda cluster: cluster.job_logs[0],
    "runner": lambda cluster: cluster.job_runners[0],
    "gateway": lambda cluster: cluster.gateways[0],
}


@pytest.mark.parametrize("shape", [Shape(gateways=2)], ids=[""])
@pytest.mark.parametrize("kind", PICK)
async def test_callers_and_watchers_go_on_elsewhere_while_a_process_is_frozen_and_nothing_is_lost(
    cluster: Cluster, load: Load, kind: str
) -> None:
    storm, frozen = Storm(cluster, load), PICK[kind](cluster)
    pids = [member.pid for member in cluster.members]
    waits: list[dict[str, float]] = []

    async with observing(cluster) as observers, explaining(load) as explained:

        async def one_more() -> None:
            began = time.monotonic()
            request_id = await load.create("busy", 100)
            created = time.monotonic() - began
            waits.append({"create": created} | await observers.until_end_is_known(request_id))

        async def faults() -> None:
            if kind == "job-log":
                # The streams of both runners move to the copy that is then frozen.
                await storm.kill(cluster.job_logs[1])
                await cluster.job_logs[1].until_ready()
                pids[:] = [member.pid for member in cluster.members]
            await one_more()
            frozen.send(signal.SIGSTOP)
            if kind == "runner":
                storm.deaths.append((frozen.pid, time.time()))
            await asyncio.gather(asyncio.sleep(FROZEN), *(one_more() for _ in range(4)))
            frozen.send(signal.SIGCONT)
            await asyncio.sleep(3)
            await one_more()

        await storm.blow(faults, rate=5, ms=200)
        for request_id in load.acknowledged:
            if observers.has_missed(request_id):
                await observers.until_end_is_known(request_id)
        observers.check_order()

    verdict = await storm.verdict()
    worst = {name: max(wait[name] for wait in waits[1:5]) for name in waits[0]}
    print(
        verdict.figures(),
        dict(load.answers),
        f"{observers.connections()} streams, waited at most "
        + ", ".join(f"{seconds:.1f} s for {name}" for name, seconds in worst.items()),
        *(f"{count} x {text}" for text, count in explained.texts.items()),
        sep="\n",
    )
    assert verdict.wrong == []
    assert verdict.slow == []
    assert explained.empty == []
    assert [member.pid for member in cluster.members] == pids
