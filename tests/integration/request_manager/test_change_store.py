"""Changes of requests across a crash of the database server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.postgres_fixtures import PostgresServer
from tests.waiting import until

from spincycle.database.database import Database
from spincycle.database.migrations import prepare_schema
from spincycle.database.queries import load_queries
from spincycle.errors import DatabaseUnavailable
from spincycle.request_manager.process import PACKAGE, SCHEMA
from spincycle.request_manager.request_encoding import encode_args
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.runtime.config import DatabaseConfig, Secret

INSERT = """
INSERT INTO request_manager.requests
            (request_id, type, state, created_at, total_jobs, spec_revision, plan_hash)
     VALUES ($1, 'nap', 1, now(), 1, '', '')
"""


@pytest.fixture
async def changes(database: str) -> AsyncIterator[ChangeStore]:
    config = DatabaseConfig(dsn=Secret(database))
    opened = await Database.open(
        config, load_queries(PACKAGE), "request-manager", schema_ready=False
    )
    await prepare_schema(opened, config, SCHEMA, PACKAGE)
    yield ChangeStore(opened, encode_args)
    await opened.close()


@pytest.fixture
async def lazy_postgres(postgres: PostgresServer) -> AsyncIterator[PostgresServer]:
    """A server that flushes asynchronous commits as late as possible."""
    await postgres.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    await postgres.execute("SELECT pg_reload_conf()")
    yield postgres
    await postgres.execute("ALTER SYSTEM RESET wal_writer_delay")
    await postgres.execute("SELECT pg_reload_conf()")


async def test_a_change_after_a_crash_of_the_server_does_not_count_as_seen(
    lazy_postgres: PostgresServer, database: str, changes: ChangeStore
) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute(INSERT, "a")
    seen = await changes.now()
    async with connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = off")
        await connection.execute("UPDATE request_manager.requests SET state = 2")
    seen, rows = await changes.after(seen)
    assert [row.request_id for row in rows] == ["a"]

    await lazy_postgres.embedded.kill()
    connection.terminate()
    await lazy_postgres.embedded.start()
    connection = await asyncpg.connect(database)
    await connection.execute(INSERT, "b")
    await connection.close()

    async def is_back() -> bool:
        nonlocal rows
        try:
            _, rows = await changes.after(seen)
        except DatabaseUnavailable:
            return False
        return True

    await until(is_back)
    assert [row.request_id for row in rows] == ["b"]
