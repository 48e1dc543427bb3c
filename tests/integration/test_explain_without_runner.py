"""Explain responds while the process of the runner is frozen or dead."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.home import running, temporary_home
from tests.waiting import until

from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub as Stub

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """One of each service."""
    shape = Shape(request_managers=1, job_runners=1, job_logs=1, gateway=False)
    with temporary_home() as home:
        async with running(home, shape) as cluster:
            yield cluster


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_request_on_a_frozen_or_dead_runner_is_explained_until_it_is_recovered(
    cluster: Cluster, number: signal.Signals
) -> None:
    async with open_channel(cluster.request_manager) as channel:
        stub = Stub(channel)
        create = rpc.CreateRequest(type="busy")
        create.args.update({"ms": "600000"})
        request_id = (await stub.Create(create, wait_for_ready=True)).request.id

        async def explain() -> rpc.ExplainResponse:
            return await stub.Explain(rpc.ExplainRequest(request_id=request_id), timeout=20)

        async def runs() -> bool:
            # The runner runs a job before the row of its request says RUNNING.
            stored = (await stub.Get(rpc.GetRequest(request_id=request_id))).request.state
            jobs = (await stub.ListRunningJobs(rpc.ListRunningJobsRequest())).status.jobs
            return bool(jobs) and stored == state_pb2.STATE_RUNNING

        await until(runs)
        database = await cluster.connect()
        runner_id = await database.fetchval("SELECT runner_id FROM request_manager.runners")
        await database.close()

        cluster.job_runners[0].send(number)
        response = await explain()

        assert response.state == state_pb2.STATE_RUNNING
        assert response.message.startswith(
            f"runner {runner_id} does not respond; its last heartbeat was "
        )
        messages = {job.name: job.message for job in response.jobs}
        assert messages["first"] == response.message
        assert messages["flaky"].startswith("waits for first ")

        async def is_recovered() -> bool:
            message = (await explain()).message
            return message == "there is no live job runner to run the request"

        await until(is_recovered)
