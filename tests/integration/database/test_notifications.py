from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.waiting import until

from spincycle.database.notifications import listen
from spincycle.runtime.config import ConfigError, DatabaseConfig, Secret


@pytest.fixture
async def teller(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE TABLE present (pid int)")
    yield connection
    await connection.close()


async def test_what_others_tell_is_heard_again_after_the_session_was_lost(
    database: str, teller: asyncpg.Connection
) -> None:
    heard: list[str] = []
    begun: list[None] = []
    listening = asyncio.create_task(
        listen(
            DatabaseConfig(dsn=Secret(database)),
            "market",
            heard.append,
            lambda: begun.append(None),
            setup="INSERT INTO present VALUES (pg_backend_pid())",
            teardown="DELETE FROM present WHERE pid = pg_backend_pid()",
        )
    )
    await until(lambda: len(begun) == 1)
    await teller.execute("SELECT pg_notify('market', 'tea'), pg_notify('elsewhere', 'salt')")
    await until(lambda: heard == ["tea"])

    await teller.execute("SELECT pg_terminate_backend(pid) FROM present")
    await until(lambda: len(begun) == 2)
    await teller.execute("SELECT pg_notify('market', 'rice')")
    await until(lambda: heard == ["tea", "rice"])

    assert await teller.fetchval("SELECT count(*) FROM present") == 2
    listening.cancel()
    await asyncio.wait([listening])
    assert listening.cancelled()
    assert await teller.fetchval("SELECT count(*) FROM present") == 1


async def test_listening_at_an_address_that_is_not_valid_is_refused_with_its_key() -> None:
    config = DatabaseConfig(dsn=Secret("mysql://nowhere"))

    with pytest.raises(ConfigError, match=r"^database\.dsn: "):
        await listen(config, "market", lambda _: None, lambda: None)
