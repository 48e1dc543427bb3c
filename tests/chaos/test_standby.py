"""A standby that lags is promoted in place of the database.

Replication is asynchronous, so commits that were acknowledged may be missing afterwards. Faults
made here, chosen before any of them was run:

1. The connection of the standby to the primary is cut for some seconds under load, the primary is
   killed (SIGKILL), and the standby is promoted and takes over the primary's address. Runners and
   request managers live on.
2. The same, and the runners are restarted while the connection is cut, so that the promoted
   database knows only runners that are gone and the live ones know nothing of its requests.
3. The same as 1, and a runner is killed while the connection is cut, so that the requests that were
   recovered, with the epochs and fences of the recovery, go back to before it.
4. The same as 1, and requests are stopped and suspended just after the promotion.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from tests.chaos.cluster import Cluster
from tests.chaos.explained import explaining
from tests.chaos.load import Load
from tests.chaos.setback import Setback
from tests.chaos.standby import Standby
from tests.chaos.storm import Storm
from tests.waiting import until

from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import request_pb2, state_pb2

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

FOR_EVER = 3_600_000
"""Milliseconds of a job that ends only if it is stopped."""

LIST_RUNNING = rpc.ListRequest(filter=request_pb2.RequestFilter(states=[state_pb2.STATE_RUNNING]))


@pytest.fixture
async def failover(cluster: Cluster, load: Load) -> AsyncIterator[Failover]:
    standby = Standby(cluster)
    await standby.start()
    yield Failover(cluster, load, standby)
    await standby.stop()


class Failover:
    """A promotion of a standby that lags, under load."""

    def __init__(self, cluster: Cluster, load: Load, standby: Standby) -> None:
        self.cluster = cluster
        self.load = load
        self.standby = standby
        self.storm = Storm(cluster, load)
        self.setback = Setback(0.0, [])
        self.lost: list[str] = []
        self.texts: list[str] = []

    async def happen(
        self,
        while_cut_off: Callable[[], Awaitable[None]],
        afterwards: Callable[[], Awaitable[None]],
    ) -> None:
        """Fail over under load, and wait until all that the database knows has ended.

        A request that runs for ever is kept and then stopped, another one is lost.
        """

        async def faults() -> None:
            await asyncio.sleep(2)
            kept = await self._run_for_ever()
            await asyncio.sleep(1)
            await self.standby.cut_off()
            lost = await self._run_for_ever()
            await while_cut_off()
            await asyncio.sleep(3)
            self.setback = await self.standby.take_over()
            connection = await self.cluster.connect()
            self.lost = await self.setback.forget_lost(connection, self.load)
            await connection.close()
            assert lost in self.lost
            assert kept not in self.lost
            await afterwards()
            await self.stop(kept)
            await asyncio.sleep(3)

        async with explaining(self.load) as explained:
            await self.storm.blow(faults, rate=8, ms=200)
        self.texts = [f"{count} x {text}" for text, count in explained.texts.items()]
        assert explained.empty == []

    async def stop(self, request_id: str) -> None:
        """Stop a request, unless it has just ended."""
        stop = rpc.StopRequest(request_id=request_id)
        if await has_not_ended(self.load.stub.Stop(stop, timeout=30, wait_for_ready=True)):
            self.storm.stopped.add(request_id)

    async def verdict(self) -> None:
        """Assert that nothing is stuck, that nothing was repeated, and that nothing is left."""
        verdict = await self.storm.verdict(self.setback)
        lost_entries = self.setback.lost_entries(verdict.testimony)
        print(
            f"{verdict.figures()}; lost: {len(self.lost)} requests, {len(lost_entries)} entries",
            dict(self.load.answers),
            *self.texts,
            sep="\n",
        )
        assert verdict.wrong == []
        assert self.lost
        assert lost_entries
        await until(self._runners_are_empty)

    async def _run_for_ever(self) -> str:
        request_id = await self.load.create("sleeping", FOR_EVER)

        async def runs() -> bool:
            response = await self.load.stub.Get(rpc.GetRequest(request_id=request_id))
            return response.request.state == state_pb2.STATE_RUNNING

        await until(runs)
        return request_id

    async def _runners_are_empty(self) -> bool:
        response = await self.load.stub.GetRunning(rpc.GetRunningRequest(), timeout=10)
        connection = await self.cluster.connect()
        query = "SELECT sum(chains + jobs) FROM request_manager.runners WHERE gone_at IS NULL"
        held = await connection.fetchval(query)
        await connection.close()
        return not response.status.jobs and held == 0


async def has_not_ended(call: Awaitable[object]) -> bool:
    """Whether a stop, suspension or resumption was accepted; it is not once a request has ended."""
    try:
        await call
    except grpc.aio.AioRpcError as failure:
        if failure.code() is not grpc.StatusCode.FAILED_PRECONDITION:
            raise
        return False
    return True


async def nothing() -> None:
    """No fault besides."""


async def test_all_that_a_promoted_standby_knows_ends_and_what_it_lost_is_dropped(
    failover: Failover,
) -> None:
    await failover.happen(nothing, nothing)

    await failover.verdict()


async def test_requests_go_on_although_a_promoted_standby_does_not_know_their_runners(
    failover: Failover,
) -> None:
    async def restart_runners() -> None:
        for runner in failover.cluster.job_runners:
            await runner.end(signal.SIGTERM)
            runner.start()

    await failover.happen(restart_runners, nothing)

    await failover.verdict()


async def test_requests_go_on_although_a_promoted_standby_does_not_know_of_their_recovery(
    failover: Failover,
) -> None:
    async def lose_a_runner() -> None:
        await failover.storm.kill(failover.cluster.job_runners[0])
        await asyncio.sleep(8)

    await failover.happen(lose_a_runner, nothing)

    await failover.verdict()


async def test_a_stop_or_suspension_just_after_a_promotion_takes_effect(
    failover: Failover,
) -> None:
    load, held = failover.load, []

    async def stop_and_suspend() -> None:
        response = await load.stub.List(LIST_RUNNING, timeout=30, wait_for_ready=True)
        live = [each.id for each in response.requests]
        assert len(live) > 3
        for number, request_id in enumerate(live):
            if number % 2:
                await failover.stop(request_id)
            else:
                suspend = rpc.SuspendRequest(request_id=request_id)
                if await has_not_ended(load.stub.Suspend(suspend, timeout=30)):
                    held.append(request_id)

        async def settled() -> bool:
            response = await load.stub.List(LIST_RUNNING, timeout=30)
            return not {each.id for each in response.requests} & set(live)

        await until(settled)
        for request_id in held:
            resume = rpc.ResumeRequest(request_id=request_id)
            await has_not_ended(load.stub.Resume(resume, timeout=30))

    await failover.happen(nothing, stop_and_suspend)

    await failover.verdict()
