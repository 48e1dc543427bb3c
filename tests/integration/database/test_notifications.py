from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.waiting import until

from spincycle.database.notifications import listen
from spincycle.runtime.config import ConfigError, DatabaseConfig, Secret


@pytest.fixture
async def session(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE TABLE present (pid int)")
    yield connection
    await connection.close()


async def test_notifications_are_received_again_after_the_session_was_lost(
    database: str, session: asyncpg.Connection
) -> None:
    payloads: list[str] = []
    connects: list[None] = []
    listening = asyncio.create_task(
        listen(
            DatabaseConfig(dsn=Secret(database)),
            "market",
            payloads.append,
            lambda: connects.append(None),
            setup="INSERT INTO present VALUES (pg_backend_pid())",
            teardown="DELETE FROM present WHERE pid = pg_backend_pid()",
        )
    )
    await until(lambda: len(connects) == 1)
    await session.execute("SELECT pg_notify('market', 'tea'), pg_notify('elsewhere', 'salt')")
    await until(lambda: payloads == ["tea"])

    await session.execute("SELECT pg_terminate_backend(pid) FROM present")
    await until(lambda: len(connects) == 2)
    await session.execute("SELECT pg_notify('market', 'rice')")
    await until(lambda: payloads == ["tea", "rice"])

    assert await session.fetchval("SELECT count(*) FROM present") == 2
    listening.cancel()
    await asyncio.wait([listening])
    assert listening.cancelled()
    assert await session.fetchval("SELECT count(*) FROM present") == 1


async def test_an_invalid_address_is_rejected_with_its_configuration_key() -> None:
    config = DatabaseConfig(dsn=Secret("mysql://nowhere"))

    with pytest.raises(ConfigError, match=r"^database\.dsn: "):
        await listen(config, "market", lambda _: None, lambda: None)
