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
from collections.abc import AsyncIterator

import pytest
from tests.chaos.cluster import Cluster
from tests.chaos.load import Load
from tests.chaos.setback_storm import SetbackStorm, has_not_ended
from tests.chaos.standby import Standby
from tests.waiting import until

from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import request_pb2, state_pb2

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

LIST_RUNNING = rpc.ListRequest(filter=request_pb2.RequestFilter(states=[state_pb2.STATE_RUNNING]))


@pytest.fixture
async def failover(cluster: Cluster, load: Load) -> AsyncIterator[SetbackStorm]:
    standby = Standby(cluster)
    await standby.start()
    yield SetbackStorm(cluster, load, standby)
    await standby.stop()


async def test_all_that_a_promoted_standby_knows_ends_and_what_it_lost_is_dropped(
    failover: SetbackStorm,
) -> None:
    await failover.happen()

    assert await failover.problems() == []


async def test_requests_go_on_although_a_promoted_standby_does_not_know_their_runners(
    failover: SetbackStorm,
) -> None:
    async def restart_runners() -> None:
        for runner in failover.cluster.job_runners:
            await runner.end(signal.SIGTERM)
            runner.start()

    await failover.happen(in_between=restart_runners)

    assert await failover.problems() == []


async def test_requests_go_on_although_a_promoted_standby_does_not_know_of_their_recovery(
    failover: SetbackStorm,
) -> None:
    async def lose_a_runner() -> None:
        await failover.storm.kill(failover.cluster.job_runners[0])
        await asyncio.sleep(8)

    await failover.happen(in_between=lose_a_runner)

    assert await failover.problems() == []


async def test_a_stop_or_suspension_just_after_a_promotion_takes_effect(
    failover: SetbackStorm,
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

    await failover.happen(afterwards=stop_and_suspend)

    assert await failover.problems() == []
