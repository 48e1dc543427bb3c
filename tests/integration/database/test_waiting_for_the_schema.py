"""No statement runs on a database without the schema that the code needs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.health_client import HealthClient
from tests.waiting import until

from spincycle.database.database import Database
from spincycle.database.migrations import load_migrations, migrate, prepare_schema
from spincycle.database.queries import load_queries
from spincycle.dev.ports import free_port
from spincycle.errors import DatabaseUnavailable
from spincycle.rpc.channel import open_channel
from spincycle.runtime.config import DatabaseConfig, Secret
from spincycle.v1 import job_log_service_pb2, request_manager_service_pb2
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

SCRIPTS = Path(sysconfig.get_path("scripts"))
REPOSITORY = Path(__file__).parents[3]
PACKAGE = "spincycle.request_manager"
SCHEMA = "request_manager"

Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True)


def configured(dsn: str, *, migrating: bool) -> DatabaseConfig:
    return DatabaseConfig(dsn=Secret(dsn), migrate=migrating)


@pytest.fixture
async def opened(database: str) -> AsyncIterator[Database]:
    config = configured(database, migrating=False)
    opened = await Database.open(config, load_queries(PACKAGE), "test", schema_ready=False)
    yield opened
    await opened.close()


async def test_every_statement_fails_until_the_schema_is_ready(
    opened: Database, database: str
) -> None:
    with pytest.raises(DatabaseUnavailable):
        await opened.fetch("live_runners")
    with pytest.raises(DatabaseUnavailable):
        async with opened.transaction():
            pass
    assert not opened.reachable

    await prepare_schema(opened, configured(database, migrating=True), SCHEMA, PACKAGE)

    assert opened.reachable
    assert await opened.fetch("live_runners") == []


async def test_a_process_without_migration_waits_for_its_last_step(
    opened: Database, database: str
) -> None:
    steps = load_migrations(PACKAGE)
    preparing = asyncio.create_task(
        prepare_schema(opened, configured(database, migrating=False), SCHEMA, PACKAGE)
    )
    await migrate(database, SCHEMA, steps[:-1])
    await _looked(database, twice=True)
    with pytest.raises(DatabaseUnavailable):
        await opened.fetch("live_runners")
    assert not preparing.done()

    await migrate(database, SCHEMA, steps)
    await preparing

    assert await opened.fetch("live_runners") == []


async def test_a_newer_schema_is_accepted(opened: Database, database: str) -> None:
    await migrate(database, SCHEMA, load_migrations(PACKAGE))
    connection = await asyncpg.connect(database)
    await connection.execute("INSERT INTO request_manager.migrations VALUES (999, 'later', '')")
    await connection.close()

    await prepare_schema(opened, configured(database, migrating=False), SCHEMA, PACKAGE)

    assert opened.reachable


async def _looked(dsn: str, *, twice: bool) -> None:
    """Return after another session was opened and closed, or two sessions if `twice`."""
    connection = await asyncpg.connect(dsn)
    try:
        count = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
        before = await connection.fetchval(count)

        async def more() -> bool:
            return bool(await connection.fetchval(count) >= before + 1 + twice)

        await until(more)
    finally:
        await connection.close()


@pytest.fixture
async def start(database: str) -> AsyncIterator[Start]:
    processes: list[asyncio.subprocess.Process] = []

    async def begin(program: str, **variables: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            SCRIPTS / program, env=os.environ | variables, stderr=asyncio.subprocess.DEVNULL
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()


async def _ask_job_log(channel: grpc.aio.Channel) -> None:
    await JobLogServiceStub(channel).ListEntries(
        job_log_service_pb2.ListEntriesRequest(request_id="c3jm2rk0000000000000")
    )


async def _ask_request_manager(channel: grpc.aio.Channel) -> None:
    await RequestManagerServiceStub(channel).List(request_manager_service_pb2.ListRequest())


@pytest.mark.parametrize(
    ("program", "prefix", "call"),
    [
        ("spincycle-job-log", "SPINCYCLE_JL_", _ask_job_log),
        ("spincycle-request-manager", "SPINCYCLE_RM_", _ask_request_manager),
    ],
)
async def test_a_process_without_migration_is_unavailable_until_the_schema_is_migrated(
    database: str,
    start: Start,
    program: str,
    prefix: str,
    call: Callable[[grpc.aio.Channel], Awaitable[None]],
) -> None:
    address = f"127.0.0.1:{free_port()}"
    variables = {
        "LISTEN": address,
        "INTERNAL__LISTEN": f"127.0.0.1:{free_port()}",
        "INTERNAL__ALLOW_UNIDENTIFIED": "true",
        "DATABASE__DSN": database,
        "DATABASE__MIGRATE": "false",
    }
    if prefix == "SPINCYCLE_RM_":
        variables["SPECS_DIR"] = str(REPOSITORY / "k8s/base/specs")
    else:
        variables["AUTH__NONE"] = "true"
    await start(program, **{prefix + key: value for key, value in variables.items()})
    async with open_channel(address) as channel:
        health = HealthClient(channel)

        async def serving() -> bool:
            request = health_pb2.HealthCheckRequest()
            response = await health.check(request, timeout=20, wait_for_ready=True)
            return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

        assert not await serving()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "database" in (refused.value.details() or "")
        assert not await serving()

        command = [str(SCRIPTS / "spincycle"), "migrate", "--dsn", database]
        done = await asyncio.to_thread(run, command)
        assert "applied 1" in done.stdout

        await until(serving)
        await call(channel)
