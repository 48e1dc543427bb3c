from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import asyncpg
import grpc
import pytest
from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    Context,
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    add_job_log,
    another,
    running_manager,
    until,
)
from tests.postgres_fixtures import PostgresServer

from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.rpc.status import from_rpc_error
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2

RUNNING = state_pb2.STATE_RUNNING
STOPPED = state_pb2.STATE_STOPPED


@pytest.fixture
async def manager(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[Manager]:
    """A request manager that evicts silent runners quickly."""
    hasty = replace(config, silence_limit=0.4)
    async with running_manager(hasty, job_log[0]) as running:
        yield running


async def test_requests_of_a_silent_runner_are_recovered_under_a_new_epoch(
    manager: Manager,
) -> None:
    await manager.register(SteeredRunner("silent"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, RUNNING)

    other = await registered_after_eviction(manager, "silent")

    await until(lambda: request_id in other.resumed)
    epoch = other.chains[request_id]
    assert manager.job_log.fence_calls[request_id] == [epoch - 1, epoch]
    assert epoch > 2


class HangingJobLog(ShelvedJobLog):
    """A job log that responds to no call of Fence; `hanging` counts the calls."""

    hanging = 0

    async def Fence(
        self, request: journal_pb2.FenceRequest, context: Context
    ) -> journal_pb2.FenceResponse:
        self.hanging += 1
        try:
            await asyncio.Event().wait()
            raise AssertionError("the event is never set")
        finally:
            self.hanging -= 1


async def test_a_runner_is_evicted_while_requests_of_another_one_take_long_to_be_rebuilt(
    config: RequestManagerConfig,
) -> None:
    job_log = HangingJobLog()
    server = grpc.aio.server()
    add_job_log(job_log, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    hasty = replace(config, silence_limit=0.4, job_log=f"127.0.0.1:{port}")
    try:
        async with running_manager(hasty, job_log) as manager:
            await manager.register(SteeredRunner("first"))
            request_id = (await manager.create()).request.id
            await manager.until_state(request_id, RUNNING)
            await until(lambda: job_log.hanging)

            await manager.register(SteeredRunner("second"))

            await registered_after_eviction(manager, "second")
            assert job_log.hanging == 1
    finally:
        await server.stop(0)


async def test_a_late_report_of_an_evicted_runner_is_refused(manager: Manager) -> None:
    await manager.register(SteeredRunner("silent"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, RUNNING)
    await registered_after_eviction(manager, "silent")
    await manager.until_state(request_id, RUNNING)

    assert (await manager.finish(request_id, 1)).refused.reason == "STALE_EPOCH"


async def test_a_request_to_be_stopped_is_stopped_when_its_runner_dies(
    manager: Manager,
) -> None:
    await manager.register(SteeredRunner("silent"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, RUNNING)
    await manager.stub.Stop(rpc.StopRequest(request_id=request_id))

    await manager.until_state(request_id, STOPPED)


async def test_requests_of_a_runner_that_leaves_are_recovered_at_once(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> None:
    patient = replace(config, silence_limit=3600.0)
    async with running_manager(patient, job_log[0]) as manager:
        await manager.register(SteeredRunner("leaving"))
        request_id = (await manager.create()).request.id
        await manager.until_state(request_id, RUNNING)
        other = await manager.register(SteeredRunner("other"))

        await manager.coordination.Heartbeat(
            coordination_pb2.HeartbeatRequest(runner_id="leaving", leaving=True)
        )

        await until(lambda: request_id in other.resumed)


async def test_without_the_database_creates_fail_at_once_and_work_again_with_it(
    manager: Manager, postgres: PostgresServer
) -> None:
    await manager.create()

    await postgres.embedded.kill(signal.SIGQUIT)
    try:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await manager.create()
        assert from_rpc_error(failure.value, "", "").reason == "DATABASE_UNAVAILABLE"
    finally:
        await postgres.embedded.start()

    await until_created(manager)


async def test_a_request_manager_receives_changes_of_another_one(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str], manager: Manager
) -> None:
    second = another(config)
    request_id = (await manager.create()).request.id
    async with running_manager(second, job_log[0]) as other:
        responses = aiter(other.stub.Watch(rpc.WatchRequest(request_ids=[request_id])))
        assert (await anext(responses)).events[0].snapshot.request.state == state_pb2.STATE_PENDING

        await manager.stub.Stop(rpc.StopRequest(request_id=request_id))

        assert (await anext(responses)).events[0].request.state == STOPPED


async def registered_after_eviction(manager: Manager, silent: str) -> SteeredRunner:
    """A second runner, registered after the silent one was evicted."""
    connection = await asyncpg.connect(manager.config.database.dsn.reveal())

    async def evicted() -> bool:
        return bool(
            await connection.fetchval(
                "SELECT deregistered_at FROM request_manager.runners WHERE runner_id = $1", silent
            )
        )

    try:
        await until(evicted)
    finally:
        await connection.close()
    return await manager.register(SteeredRunner("other"))


async def until_created(manager: Manager) -> None:
    async def created() -> bool:
        try:
            await manager.create()
        except grpc.aio.AioRpcError:
            return False
        return True

    await until(created)
