"""Health of a request manager follows its work path, and liveness what a restart can mend."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.integration.request_manager.conftest import Manager, until
from tests.postgres_fixtures import PostgresServer

from spincycle.database import connection, notifications
from spincycle.rpc.channel import open_channel
from spincycle.runtime import watchdog as pulse

SERVICE = "spincycle.v1.RequestManagerService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Doctor:
    def __init__(self, stub: health_pb2_grpc.HealthStub) -> None:
        self._stub = stub

    async def check(self, name: str) -> int:
        asked = health_pb2.HealthCheckRequest(service=name)
        return (await self._stub.Check(asked)).status

    async def until(self, status: int) -> None:
        async def said() -> bool:
            return await self.check(SERVICE) == status

        await until(said)

    def watch(self) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        return aiter(self._stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE)))


@asynccontextmanager
async def doctor_of(manager: Manager) -> AsyncIterator[Doctor]:
    async with open_channel(manager.config.listen) as channel:
        yield Doctor(health_pb2_grpc.HealthStub(channel))


@pytest.fixture
async def doctor(manager: Manager) -> AsyncIterator[Doctor]:
    async with doctor_of(manager) as doctor:
        await doctor.until(SERVING)
        yield doctor


async def test_without_the_database_it_is_not_ready_and_still_alive(
    doctor: Doctor, postgres: PostgresServer
) -> None:
    await postgres.embedded.kill(signal.SIGQUIT)
    try:
        await doctor.until(NOT_SERVING)
        assert await doctor.check("liveness") == SERVING
    finally:
        await postgres.embedded.start()

    await doctor.until(SERVING)


async def test_one_that_does_not_hear_the_others_is_not_ready(
    manager: Manager,
    doctor: Doctor,
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = doctor.watch()
    assert (await anext(told)).status == SERVING
    may_reconnect = asyncio.Event()

    async def connect(dsn: str, application: str) -> asyncpg.Connection:
        await may_reconnect.wait()
        return await connection.connect(dsn, application)

    monkeypatch.setattr(notifications, "connect", connect)
    await postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'spincycle-listen-spincycle_requests'"
    )

    assert (await anext(told)).status == NOT_SERVING
    may_reconnect.set()
    assert (await anext(told)).status == SERVING


async def test_one_whose_loops_do_not_turn_is_not_ready(
    manager: Manager, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "SLOW_AFTER", 2.5)
    session = await asyncpg.connect(manager.config.database.dsn.reveal())
    async with session.transaction():
        await session.execute("LOCK TABLE request_manager.requests IN ACCESS EXCLUSIVE MODE")

        await doctor.until(NOT_SERVING)

        assert await doctor.check("liveness") == SERVING
    await session.close()
    await doctor.until(SERVING)
