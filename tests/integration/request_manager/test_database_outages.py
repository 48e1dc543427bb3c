"""Responses, probes and logs during transient database errors."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import grpc
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs
from tests.integration.request_manager.conftest import (
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    running_manager,
    until,
)
from tests.integration.request_manager.health_probe import NOT_SERVING, SERVING, probe_of
from tests.postgres_fixtures import PostgresServer
from tests.small_disk import SmallDisk, small_disk

from spincycle.request_manager.config import RequestManagerConfig
from spincycle.runtime.config import DatabaseConfig, Secret
from spincycle.v1 import state_pb2

FAIL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'as the test says' USING ERRCODE = '{sqlstate}';
END $$;
CREATE TRIGGER fail BEFORE INSERT ON request_manager.requests EXECUTE FUNCTION fail();
"""

REPAIR = "DROP TRIGGER fail ON request_manager.requests; DROP FUNCTION fail()"


OF_REQUESTS = {"created", "audit", "audit log sealed"}
"""Log events of requests that are created."""


@pytest.fixture
async def disk(postgres: PostgresServer) -> AsyncIterator[SmallDisk]:
    async with small_disk(postgres) as disk:
        yield disk


async def refusal(manager: Manager) -> str:
    """Create requests until one fails with UNAVAILABLE; return the message."""

    async def create_on() -> None:
        while True:
            await manager.create()

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create_on()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    return str(refused.value.details())


async def creates(manager: Manager) -> bool:
    try:
        await manager.create()
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_a_full_disk_is_unavailable_and_not_ready_until_it_has_space(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str], disk: SmallDisk
) -> None:
    config = replace(config, database=DatabaseConfig(dsn=Secret(disk.dsn)))
    async with running_manager(config, job_log[0]) as manager, probe_of(manager) as probe:
        await probe.until(SERVING)
        accepted = await manager.create()
        with capture_logs() as logs:
            disk.fill()
            assert "disk full" in await refusal(manager)
            await probe.until(NOT_SERVING)
            assert await probe.check("liveness") == SERVING
            assert await manager.state(accepted.request.id) == state_pb2.STATE_PENDING
            for _ in range(5):
                await refusal(manager)

            disk.free()
            await probe.until(SERVING)
            assert await creates(manager)

        events = [
            (log["event"], log.get("cause"))
            for log in logs
            if log["event"] not in OF_REQUESTS and log["log_level"] != "debug"
        ]
        assert events == [
            ("database unavailable", "disk full"),
            ("database available again", "disk full"),
        ]
        runner = await manager.register(SteeredRunner("runner-1"))
        await until(lambda: accepted.request.id in runner.chains)


@pytest.mark.parametrize(
    ("sqlstate", "cause"),
    [
        ("25006", "read-only"),
        ("53100", "disk full"),
        ("53200", "out of memory"),
        ("53300", "too many connections"),
        ("55P03", "lock timeout"),
        ("57014", "statement cancelled"),
        ("57P02", "shutting down or starting"),
    ],
)
async def test_a_create_during_an_outage_is_unavailable_without_a_traceback(
    manager: Manager, sqlstate: str, cause: str
) -> None:
    session = await asyncpg.connect(manager.config.database.dsn.reveal())
    await session.execute(FAIL.format(sqlstate=sqlstate))
    with capture_logs() as logs:
        for _ in range(3):
            assert cause in await refusal(manager)
        await session.execute(REPAIR)
        await until(lambda: creates(manager))

    await session.close()
    assert not [log for log in logs if log["log_level"] == "error" or "exc_info" in log]
    warnings = [log["cause"] for log in logs if log["log_level"] == "warning"]
    if sqlstate != "57P02":  # Any successful statement ends the outage.
        assert warnings == [cause]


async def test_a_create_that_a_retry_cannot_help_is_internal(manager: Manager) -> None:
    session = await asyncpg.connect(manager.config.database.dsn.reveal())
    await session.execute(FAIL.format(sqlstate="42703"))

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await manager.create()

    await session.close()
    assert failed.value.code() is grpc.StatusCode.INTERNAL
