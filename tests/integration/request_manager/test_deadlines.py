"""Calls of runner and job log, and statements, get the remaining deadline of their call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
import grpc
import pytest
from msgspec.structs import replace
from tests.identities import UNIDENTIFIED
from tests.integration.request_manager.conftest import (
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    add_job_log,
    running_manager,
    until,
)

from spincycle.internal.v1 import job_runner_service_pb2
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.rpc.limits import INTERNAL
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.v1 import job_log_service_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

LOCK = "LOCK TABLE request_manager.requests IN ACCESS EXCLUSIVE MODE"
LOCK_WRITES = "LOCK TABLE request_manager.requests IN EXCLUSIVE MODE"
WAITING = """
SELECT count(*) FROM pg_stat_activity
 WHERE application_name = 'spincycle-request-manager' AND state = 'active'
   AND query LIKE '%' || $1 || '%'
"""
ROUNDED = 1.1
"""gRPC rounds deadlines up, by some percent at most."""

LIST = "r.given_args @>"
STOP = "AS g (request_id, desired_state, reason,"


@pytest.fixture
def config(config: RequestManagerConfig) -> RequestManagerConfig:
    """Statements do not end before the test ends them."""
    patient = replace(config.database, statement_timeout=1000.0)
    return replace(config, database=patient)


class TimedJobLog(ShelvedJobLog):
    left: float | None = None

    async def ListEntries(self, request: Any, context: Any) -> Any:
        self.left = context.time_remaining()
        return job_log_service_pb2.ListEntriesResponse()


class TimedRunner(SteeredRunner):
    left: float | None = None

    async def ListRunning(self, request: Any, context: Any) -> Any:
        self.left = context.time_remaining()
        return job_runner_service_pb2.ListRunningResponse()

    async def StopChains(self, request: Any, context: Any) -> Any:
        self.left = context.time_remaining()
        return job_runner_service_pb2.StopChainsResponse()


@pytest.fixture
async def session(manager: Manager) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(manager.config.database.dsn.reveal())
    yield connection
    await connection.close()


# Within a transaction PostgreSQL caches pg_stat_activity.
observer = session


async def failure(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_a_call_of_the_job_log_gets_the_remaining_deadline(
    config: RequestManagerConfig,
) -> None:
    job_log = TimedJobLog()
    server = RpcServer(internal=UNIDENTIFIED)
    listener = server.listen(INTERNAL, "127.0.0.1:0")
    listener.serve(RpcService("spincycle.v1.JobLogService", partial(add_job_log, job_log)))
    await server.start()
    timed = replace(config, job_log=listener.address)
    async with running_manager(timed, job_log) as manager:
        request_id = (await manager.create()).request.id
        await manager.stub.Explain(rpc.ExplainRequest(request_id=request_id), timeout=3)
        assert job_log.left is not None
        assert job_log.left < ROUNDED * 3

        await manager.stub.Explain(rpc.ExplainRequest(request_id=request_id))
        assert job_log.left > ROUNDED * 3
    await server.stop(0)


@pytest.mark.parametrize("call", ["running", "stop"])
async def test_a_call_of_a_runner_gets_the_remaining_deadline(manager: Manager, call: str) -> None:
    runner = TimedRunner("runner")
    await manager.register(runner)
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, state_pb2.STATE_RUNNING)

    if call == "running":
        await manager.stub.ListRunningJobs(rpc.ListRunningJobsRequest(), timeout=1)
    else:
        await manager.stub.Stop(rpc.StopRequest(request_id=request_id), timeout=1)

    assert runner.left is not None
    assert runner.left < ROUNDED < manager.config.dispatch_timeout


async def test_a_cancelled_call_cancels_its_statement(
    manager: Manager, session: asyncpg.Connection, observer: asyncpg.Connection
) -> None:
    async def waits() -> bool:
        return bool(await observer.fetchval(WAITING, LIST))

    async with session.transaction():
        await session.execute(LOCK)
        call = manager.stub.List(rpc.ListRequest(), timeout=60)
        await until(waits)

        call.cancel()

        async def gone() -> bool:
            return not await waits()

        await until(gone)
    await manager.stub.List(rpc.ListRequest())


async def test_a_statement_ends_with_its_call_and_the_database_counts_as_reachable(
    manager: Manager, session: asyncpg.Connection, observer: asyncpg.Connection
) -> None:
    async def gone() -> bool:
        return not await observer.fetchval(WAITING, LIST)

    async with session.transaction():
        await session.execute(LOCK)
        code = await failure(manager.stub.List(rpc.ListRequest(), timeout=0.3))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(gone)
    await manager.stub.List(rpc.ListRequest())


async def test_a_shared_statement_ends_with_the_last_of_its_calls(
    manager: Manager, session: asyncpg.Connection, observer: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id

    async def waits() -> bool:
        return bool(await observer.fetchval(WAITING, STOP))

    async def gone() -> bool:
        return not await waits()

    async with session.transaction():
        await session.execute(LOCK_WRITES)
        stop = rpc.StopRequest(request_id=request_id)
        first = manager.stub.Stop(stop, timeout=1.0)
        await until(waits)
        assert await failure(first) is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(gone)
    assert await manager.state(request_id) == state_pb2.STATE_PENDING
