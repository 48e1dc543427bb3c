from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.postgres_fixtures import PostgresServer
from tests.waiting import until

from spincycle.database.database import Database, Session
from spincycle.database.queries import parse_queries
from spincycle.errors import DatabaseUnavailable
from spincycle.runtime.config import DatabaseConfig, Secret

LOSING = """
CREATE SEQUENCE attempts;
CREATE FUNCTION attempt() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    -- A sequence remembers what the rest of the transaction forgets.
    IF nextval('attempts') < 3 THEN
        RAISE EXCEPTION 'lost' USING ERRCODE = 'deadlock_detected';
    END IF;
    RETURN currval('attempts');
END $$;
"""

QUERIES = {
    query.name: query
    for query in parse_queries(
        """
-- name: pid
SELECT pg_backend_pid() AS pid;
-- name: kill
SELECT pg_terminate_backend(:pid::int);
-- name: sleep
SELECT pg_sleep(:seconds::float8);
-- name: sleeping
SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND wait_event = 'PgSleep';
-- name: create
CREATE TABLE wares (name text PRIMARY KEY);
-- name: add
INSERT INTO wares VALUES (:name);
-- name: put
INSERT INTO wares VALUES (:name) ON CONFLICT DO NOTHING RETURNING name;
-- name: attempt
SELECT attempt();
-- name: all
SELECT name FROM wares ORDER BY name;
"""
    )
}


@pytest.fixture
async def opened(database: str) -> AsyncIterator[Database]:
    config = DatabaseConfig(dsn=Secret(database), max_connections=2, statement_timeout=5)
    opened = await Database.open(config, QUERIES, "test")
    yield opened
    await opened.close()


async def pid(opened: Database) -> int:
    row = await opened.fetch_one("pid")
    assert row is not None
    return int(row["pid"])


async def add(opened: Database, *names: str) -> None:
    async with opened.transaction() as session:
        for name in names:
            await session.execute("add", name=name)


async def test_queries_are_run_by_name_with_named_values(opened: Database) -> None:
    await opened.execute("create")
    for name in ("tea", "salt"):
        await opened.execute("add", name=name)

    assert [row["name"] for row in await opened.fetch("all")] == ["salt", "tea"]


async def test_a_transaction_is_atomic(opened: Database) -> None:
    await opened.execute("create")
    await add(opened, "tea", "salt")
    with pytest.raises(asyncpg.UniqueViolationError):
        await add(opened, "rice", "tea")

    assert [row["name"] for row in await opened.fetch("all")] == ["salt", "tea"]


async def test_a_query_for_several_sets_of_values_returns_all_rows(opened: Database) -> None:
    await opened.execute("create")
    await opened.execute("add", name="salt")

    rows = await opened.fetch_each("put", [{"name": name} for name in ("tea", "salt", "rice")])

    assert [row["name"] for row in rows] == ["tea", "rice"]


async def test_a_query_for_very_many_sets_of_values_is_atomic(opened: Database) -> None:
    await opened.execute("create")
    names = [f"{number:0100}" for number in range(5000)]

    with pytest.raises(asyncpg.UniqueViolationError):
        await opened.fetch_each("add", [{"name": name} for name in [*names, names[0]]])
    assert await opened.fetch("all") == []

    await opened.fetch_each("add", [{"name": name} for name in names])
    assert [row["name"] for row in await opened.fetch("all")] == names


async def test_an_invalid_query_is_not_reported_as_an_outage(opened: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await opened.fetch("all")

    assert opened.reachable


async def test_a_statement_that_exceeds_its_timeout_is_cancelled(
    database: str,
) -> None:
    config = DatabaseConfig(dsn=Secret(database), statement_timeout=0.1)
    impatient = await Database.open(config, QUERIES, "test")
    with pytest.raises(DatabaseUnavailable):
        await impatient.execute("sleep", seconds=60)

    assert await pid(impatient)
    await impatient.close()


async def test_a_session_terminated_by_the_server_is_replaced(opened: Database) -> None:
    first = await pid(opened)
    with pytest.raises(DatabaseUnavailable):
        await opened.execute("kill", pid=first)

    assert await pid(opened) != first
    assert opened.reachable


async def test_a_cancelled_caller_leaves_a_usable_session(opened: Database) -> None:
    async def add_slowly() -> None:
        async with opened.transaction() as session:
            await session.execute("add", name="tea")
            await session.execute("sleep", seconds=60)

    await opened.execute("create")
    caller = asyncio.create_task(add_slowly())
    await until(lambda: opened.fetch("sleeping"))
    caller.cancel()
    await asyncio.wait([caller])

    assert caller.cancelled()
    assert await opened.fetch("all") == []
    assert len({await pid(opened) for _ in range(4)}) == 1


async def test_statements_succeed_again_after_a_restart_of_the_server(
    opened: Database, postgres: PostgresServer
) -> None:
    watching = asyncio.create_task(opened.keep_reachable())
    await pid(opened)

    await postgres.embedded.kill(signal.SIGQUIT)
    try:
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                await pid(opened)
        assert not opened.reachable
    finally:
        await postgres.embedded.start()
    await until(lambda: opened.reachable)

    assert await pid(opened)
    watching.cancel()


async def test_rejected_credentials_are_reported_as_an_outage(database: str) -> None:
    user, _, place = database.partition("@")
    wrong = f"{user[: user.rindex(':')]}:wrong@{place}"
    opened = await Database.open(DatabaseConfig(dsn=Secret(wrong)), QUERIES, "test")

    with pytest.raises(DatabaseUnavailable):
        await pid(opened)
    await opened.close()


async def test_a_statement_is_retried_after_a_conflict(opened: Database, database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute(LOSING)
    await connection.close()

    row = await opened.fetch_one("attempt")
    assert row is not None
    assert tuple(row) == (3,)


async def test_a_connection_error_of_the_driver_is_an_outage(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 12")

    monkeypatch.setattr(Session, "fetch_one", broken)
    with pytest.raises(DatabaseUnavailable):
        await opened.fetch_one("pid")

    monkeypatch.undo()
    assert await pid(opened)
