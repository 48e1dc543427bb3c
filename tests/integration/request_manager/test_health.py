"""Readiness of a request manager follows its work path; liveness fails if a restart helps."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.integration.request_manager.conftest import Manager
from tests.integration.request_manager.health_probe import (
    NOT_SERVING,
    SERVING,
    HealthProbe,
    probe_of,
)
from tests.postgres_fixtures import PostgresServer

from spincycle.database import connection, notifications
from spincycle.runtime import watchdog


@pytest.fixture
async def probe(manager: Manager) -> AsyncIterator[HealthProbe]:
    async with probe_of(manager) as probe:
        await probe.until(SERVING)
        yield probe


async def test_a_request_manager_without_database_is_not_ready_and_still_alive(
    probe: HealthProbe, postgres: PostgresServer
) -> None:
    await postgres.embedded.kill(signal.SIGQUIT)
    try:
        await probe.until(NOT_SERVING)
        assert await probe.check("liveness") == SERVING
    finally:
        await postgres.embedded.start()

    await probe.until(SERVING)


async def test_a_request_manager_without_notifications_is_not_ready(
    manager: Manager,
    probe: HealthProbe,
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = probe.watch()
    assert (await anext(changes)).status == SERVING
    may_reconnect = asyncio.Event()

    async def connect(dsn: str, application: str) -> asyncpg.Connection:
        await may_reconnect.wait()
        return await connection.connect(dsn, application)

    monkeypatch.setattr(notifications, "connect", connect)
    await postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'spincycle-listen-spincycle_requests'"
    )

    assert (await anext(changes)).status == NOT_SERVING
    may_reconnect.set()
    assert (await anext(changes)).status == SERVING


async def test_a_request_manager_whose_loops_hang_is_not_ready(
    manager: Manager, probe: HealthProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "SLOW_AFTER", 2.5)
    session = await asyncpg.connect(manager.config.database.dsn.reveal())
    async with session.transaction():
        await session.execute("LOCK TABLE request_manager.requests IN ACCESS EXCLUSIVE MODE")

        await probe.until(NOT_SERVING)

        assert await probe.check("liveness") == SERVING
    await session.close()
    await probe.until(SERVING)
