"""The clock of the database is set while requests run; `make chaos` does so for all services."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace
from tests.database_time import DatabaseTime
from tests.integration.request_manager.conftest import (
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    running_manager,
    until,
)
from tests.postgres_fixtures import PostgresServer

from spincycle.dev.postgres import EmbeddedPostgres
from spincycle.dev.reaper import Reaper
from spincycle.dev.stack_processes import MARK
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.request_manager import manager as manager_module
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.crash_backoff import MAX_BACKOFF
from spincycle.request_manager.runners.dispatcher import DispatchPolicy
from spincycle.request_manager.runners.recovery import RecoveryPolicy
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import request_pb2, state_pb2

HOUR = 3600

COMPLETE = state_pb2.STATE_COMPLETE
FAIL = state_pb2.STATE_FAIL
RUNNING = state_pb2.STATE_RUNNING
STOPPED = state_pb2.STATE_STOPPED
SUSPENDED = state_pb2.STATE_SUSPENDED

LEASE = timedelta(seconds=DispatchPolicy().lease)

GIVEN = """
UPDATE request_manager.requests
   SET runner_id = $2, epoch = 1, claimed_until = now() + $3 WHERE request_id = $1
"""
CLAIMED = """
UPDATE request_manager.requests
   SET runner_id = 'dead', epoch = 5, orphaned = true, claimed_until = now() + $2
 WHERE request_id = $1
"""
WAITS = "UPDATE request_manager.requests SET not_before = now() + $2 WHERE request_id = $1"


@pytest.fixture(scope="module")
def clocked() -> Iterator[tuple[PostgresServer, DatabaseTime]]:
    directory = Path(tempfile.mkdtemp(prefix="spincycle-test-"))
    reaper = Reaper(directory, remove=[directory])
    clock = DatabaseTime(directory)
    embedded = EmbeddedPostgres(
        directory, {**os.environ, **clock.environment, MARK: str(directory)}
    )
    try:
        asyncio.run(embedded.start())
        yield PostgresServer(embedded), clock
    finally:
        asyncio.run(embedded.stop())
        shutil.rmtree(directory)
        reaper.dismiss()


@pytest.fixture
def postgres(clocked: tuple[PostgresServer, DatabaseTime]) -> PostgresServer:
    return clocked[0]


@pytest.fixture
def database_time(clocked: tuple[PostgresServer, DatabaseTime]) -> Iterator[DatabaseTime]:
    yield clocked[1]
    clocked[1].set(0)


@pytest.fixture
async def manager(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[Manager]:
    """A request manager that evicts no silent runner."""
    patient = replace(config, silence_limit=3600.0)
    async with running_manager(patient, job_log[0]) as running:
        yield running


async def test_a_runner_that_dies_as_the_clock_is_set_back_is_evicted_in_time(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    database_time: DatabaseTime,
) -> None:
    hasty = replace(config, silence_limit=1.0)
    async with running_manager(hasty, job_log[0]) as manager:
        await manager.register(SteeredRunner("dies"))
        request_id = (await manager.create()).request.id
        await manager.until_state(request_id, RUNNING)
        database_time.set(-HOUR)
        other = await manager.register(SteeredRunner("other"))

        await until(lambda: beaten_and_resumed(manager, other, request_id))


async def beaten_and_resumed(manager: Manager, runner: SteeredRunner, request_id: str) -> bool:
    await beat(manager, runner.runner_id)
    return request_id in runner.resumed


async def beat(manager: Manager, runner_id: str) -> coordination_pb2.HeartbeatResponse:
    return await manager.coordination.Heartbeat(
        coordination_pb2.HeartbeatRequest(runner_id=runner_id)
    )


async def test_a_runner_with_heartbeats_is_not_evicted_whatever_the_clock_shows(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    database_time: DatabaseTime,
) -> None:
    hasty = replace(config, silence_limit=2.0)
    async with running_manager(hasty, job_log[0]) as manager:
        await manager.register(SteeredRunner("dies"))
        await manager.register(SteeredRunner("beats"))
        connection = await asyncpg.connect(manager.config.database.dsn.reveal())

        async def one_is_gone() -> bool:
            database_time.set(random.choice([-HOUR, -9, 0, 9, HOUR]))
            await beat(manager, "beats")
            gone = "SELECT deregistered_at FROM request_manager.runners WHERE runner_id = 'dies'"
            return await connection.fetchval(gone) is not None

        await until(one_is_gone)
        await beat(manager, "beats")
        await connection.close()


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
async def test_an_unaccepted_request_is_sent_again_after_the_lease_whatever_the_clock_shows(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    database_time: DatabaseTime,
    monkeypatch: pytest.MonkeyPatch,
    jump: int,
) -> None:
    policy = DispatchPolicy(lease=3.0, sweep_interval=0.2)
    monkeypatch.setattr(manager_module, "DispatchPolicy", lambda: policy)
    patient = replace(config, silence_limit=3600.0)
    async with running_manager(patient, job_log[0]) as manager:
        connection = await asyncpg.connect(manager.config.database.dsn.reveal())
        request_id = (await manager.create()).request.id
        assigned_at = time.monotonic()
        await connection.execute(GIVEN, request_id, "runner", timedelta(seconds=policy.lease))
        await connection.close()
        database_time.set(jump)

        runner = await manager.register(SteeredRunner("runner"))

        await until(lambda: request_id in runner.chains)
        assert time.monotonic() - assigned_at >= policy.lease


async def test_a_claim_of_a_dead_request_manager_ends_though_the_clock_is_set_back(
    manager: Manager, connection: asyncpg.Connection, database_time: DatabaseTime
) -> None:
    request_id = (await manager.create()).request.id
    await connection.execute(CLAIMED, request_id, LEASE)
    database_time.set(-HOUR)

    runner = await manager.register(SteeredRunner("runner"))

    await until(lambda: request_id in runner.chains)


async def test_the_backoff_after_lost_runners_ends_though_the_clock_is_set_back(
    manager: Manager, connection: asyncpg.Connection, database_time: DatabaseTime
) -> None:
    request_id = (await manager.create()).request.id
    await connection.execute(WAITS, request_id, timedelta(seconds=MAX_BACKOFF))
    database_time.set(-HOUR)

    runner = await manager.register(SteeredRunner("runner"))

    await until(lambda: request_id in runner.chains)


async def test_no_claim_or_backoff_is_so_long_that_it_counts_as_made_before_the_clock_was_set(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    assert max(DispatchPolicy().lease, RecoveryPolicy().lease, RecoveryPolicy().retry_delay) <= 8
    claimed, waits, free = [(await manager.create()).request.id for _ in range(3)]
    await connection.execute(CLAIMED, claimed, LEASE)
    await connection.execute(WAITS, waits, timedelta(seconds=MAX_BACKOFF))
    await connection.execute(CLAIMED, free, timedelta(0))

    runner = await manager.register(SteeredRunner("runner"))

    await until(lambda: free in runner.chains)
    assert not {claimed, waits} & runner.chains.keys()


async def test_heartbeat_responses_have_the_time_of_the_database(
    manager: Manager, connection: asyncpg.Connection, database_time: DatabaseTime
) -> None:
    database_time.set(-HOUR)
    await manager.register(SteeredRunner("runner"))

    before = await connection.fetchval("SELECT clock_timestamp()")
    response = await beat(manager, "runner")
    after = await connection.fetchval("SELECT clock_timestamp()")

    stored_at = response.stored_at.ToNanoseconds() / 1e9
    assert before.timestamp() <= stored_at <= after.timestamp()


@pytest.mark.parametrize("end", [COMPLETE, FAIL, STOPPED, SUSPENDED])
@pytest.mark.parametrize("seed", range(3))
async def test_no_duration_is_negative_whatever_the_clock_shows(
    manager: Manager, database_time: DatabaseTime, end: state_pb2.State.ValueType, seed: int
) -> None:
    draw = random.Random(seed)
    runner = await manager.register(SteeredRunner("runner"))

    for jump in (-HOUR, draw.randrange(-HOUR, HOUR), HOUR):
        database_time.set(draw.randrange(-HOUR, HOUR))
        request_id = (await manager.create()).request.id
        database_time.set(jump)
        await manager.until_state(request_id, RUNNING)
        database_time.set(draw.randrange(-HOUR, HOUR))
        running_time = await ended(manager, runner, request_id, end, draw.randrange(100))

        request = (await manager.stub.Get(rpc.GetRequest(request_id=request_id))).request
        created, started, finished = times(request)
        assert created <= started
        assert started + running_time <= finished


def times(request: request_pb2.Request) -> tuple[float, float, float]:
    """Seconds of creation, start and end."""
    moments = (request.created_at, request.started_at, request.finished_at)
    created, started, finished = (moment.ToMicroseconds() / 1e6 for moment in moments)
    return created, started, finished


async def ended(
    manager: Manager,
    runner: SteeredRunner,
    request_id: str,
    end: state_pb2.State.ValueType,
    seconds: int,
) -> float:
    """End a request after some seconds by its runner's clock; return for how long it ran."""
    report = coordination_pb2.RunnerReport()
    stop = rpc.StopRequest(request_id=request_id)
    epoch = runner.chains[request_id]
    if end == SUSPENDED:
        # It is stopped when it is suspended: finished_at is the time of the database.
        await manager.stub.Stop(stop)
        chain = await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id))
        report.suspended.request_id, report.suspended.epoch = request_id, epoch
        report.suspended.job_chain.CopyFrom(chain.job_chain)
        seconds = 0
    else:
        report.finish.request_id, report.finish.epoch = request_id, epoch
        report.finish.state = end
        report.finish.finished_at.FromSeconds(1_000_000_000)
        report.running_time.FromSeconds(seconds)
    response = await manager.coordination.Report(coordination_pb2.ReportRequest(reports=[report]))
    assert not response.results[0].HasField("refused"), response
    await manager.until_state(request_id, STOPPED if end == SUSPENDED else end)
    return seconds


@pytest.mark.parametrize("seconds", [-1, 10**10])
async def test_an_impossible_running_time_is_refused(manager: Manager, seconds: int) -> None:
    runner = await manager.register(SteeredRunner("runner"))
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, RUNNING)
    report = coordination_pb2.RunnerReport()
    report.finish.request_id, report.finish.epoch = request_id, runner.chains[request_id]
    report.finish.state = COMPLETE
    report.finish.finished_at.GetCurrentTime()
    report.running_time.FromSeconds(seconds)

    response = await manager.coordination.Report(coordination_pb2.ReportRequest(reports=[report]))

    assert response.results[0].refused.reason == "INVALID_INPUT"
