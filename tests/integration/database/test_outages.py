"""Transient errors, on a real server where they can be produced."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs
from tests.postgres_fixtures import PostgresServer
from tests.small_disk import SmallDisk, small_disk
from tests.waiting import until

from spincycle.database.availability import FAILURES_IN_A_ROW
from spincycle.database.database import Database
from spincycle.database.migrations import Migration, migrate_when_reachable
from spincycle.database.notifications import listen
from spincycle.database.queries import parse_queries
from spincycle.errors import DatabaseUnavailable
from spincycle.runtime import deadline
from spincycle.runtime.config import DatabaseConfig, Secret

QUERIES = {
    query.name: query
    for query in parse_queries(
        """
-- name: create
CREATE TABLE wares (name text PRIMARY KEY, made bytea);
-- name: add
INSERT INTO wares VALUES (:name, convert_to(repeat(:name, 2000), 'UTF8'));
-- name: all
SELECT name FROM wares ORDER BY name;
-- name: pid
SELECT pg_backend_pid() AS pid;
-- name: sleep
SELECT pg_sleep(:seconds::float8);
-- name: fail
SELECT fail();
"""
    )
}

FAILING = """
CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'as the test says' USING ERRCODE = '{sqlstate}';
END $$;
"""

Logs = list[MutableMapping[str, Any]]


@asynccontextmanager
async def opened(dsn: str, connections: int = 3) -> AsyncIterator[Database]:
    """A database with its probing loop running."""
    config = DatabaseConfig(dsn=Secret(dsn), max_connections=connections, statement_timeout=20)
    database = await Database.open(config, QUERIES, "test")
    watching = asyncio.create_task(database.keep_reachable())
    try:
        yield database
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        assert watching.cancelled()
        await database.close()


@pytest.fixture
async def wares(database: str) -> AsyncIterator[Database]:
    async with opened(database) as wares:
        await wares.execute("create")
        yield wares


@pytest.fixture
async def other(database: str) -> AsyncIterator[asyncpg.Connection]:
    """Another session on the same database."""
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def disk(postgres: PostgresServer) -> AsyncIterator[SmallDisk]:
    async with small_disk(postgres) as disk:
        yield disk


async def names(wares: Database) -> list[str]:
    return [row["name"] for row in await wares.fetch("all")]


async def add_until_refused(wares: Database) -> str:
    """Insert rows until one is rejected; return the cause."""
    for number in itertools.count():
        try:
            await wares.execute("add", name=f"ware-{number}")
        except DatabaseUnavailable as refused:
            return refused.cause
    raise AssertionError


def events(logs: Logs) -> list[tuple[str, str]]:
    return [
        (entry["event"], entry["cause"])
        for entry in logs
        if entry["log_level"] in ("warning", "info")
    ]


def once(cause: str) -> list[tuple[str, str]]:
    return [("database unavailable", cause), ("database available again", cause)]


async def probed(wares: Database) -> None:
    """Return after the server was probed twice."""
    calls = 0
    probe = wares._probe_writes

    async def counted() -> None:
        nonlocal calls
        try:
            await probe()
        finally:
            calls += 1

    wares._probe_writes = counted  # type: ignore[method-assign] # counts the calls
    await until(lambda: calls >= 2)


async def test_a_full_disk_is_an_outage_until_space_is_free(disk: SmallDisk) -> None:
    async with opened(disk.dsn) as wares:
        await wares.execute("create")
        await wares.execute("add", name="tea")
        with capture_logs() as logs:
            disk.fill()
            assert await add_until_refused(wares) == "disk full"
            before = await names(wares)
            for number in range(20):
                with pytest.raises(DatabaseUnavailable):
                    await wares.execute("add", name=f"more-{number}")
                assert "tea" in await names(wares)
                assert not wares.reachable
            await probed(wares)
            assert not wares.reachable

            disk.free()
            await until(lambda: wares.reachable)

        assert events(logs) == once("disk full")
        await wares.execute("add", name="salt")
        assert await names(wares) == sorted([*before, "salt"])


async def test_a_read_only_server_is_an_outage_until_it_accepts_writes(
    wares: Database, postgres: PostgresServer
) -> None:
    await postgres.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        with capture_logs() as logs:
            await postgres.execute("SELECT pg_reload_conf()")

            async def refused() -> bool:
                try:
                    await wares.execute("add", name=os.urandom(8).hex())
                except DatabaseUnavailable:
                    return True
                return False

            await until(refused)
            before = await names(wares)
            await probed(wares)
            assert not wares.reachable

            await postgres.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await postgres.execute("SELECT pg_reload_conf()")
            await until(lambda: wares.reachable)
        assert events(logs) == once("read-only")
        await wares.execute("add", name="salt")
        assert await names(wares) == sorted([*before, "salt"])
    finally:
        await postgres.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await postgres.execute("SELECT pg_reload_conf()")


async def test_connections_that_stay_read_only_after_the_outage_are_replaced(
    database: str, postgres: PostgresServer
) -> None:
    name = database.rpartition("/")[2]
    async with opened(database) as wares:
        await wares.execute("create")
    await postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with opened(database) as wares:
        with pytest.raises(DatabaseUnavailable) as refused:
            await wares.execute("add", name="tea")
        assert refused.value.cause == "read-only"
        await postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")

        await until(lambda: wares.reachable)

        await wares.execute("add", name="tea")


async def test_too_many_connections_are_an_outage_until_one_is_free(
    database: str, other: asyncpg.Connection
) -> None:
    role = f"limited_{os.getpid()}"
    await other.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'wares' CONNECTION LIMIT 1")
    _, _, place = database.partition("@")
    dsn = f"postgresql://{role}:wares@{place}"
    holder = await asyncpg.connect(dsn)
    async with opened(dsn) as wares:
        with capture_logs() as logs:
            for _ in range(5):
                with pytest.raises(DatabaseUnavailable) as refused:
                    await wares.fetch("pid")
                assert refused.value.cause == "too many connections"
            await probed(wares)
            assert not wares.reachable
            await other.execute(f"ALTER ROLE {role} CONNECTION LIMIT 10")
            await holder.close()

            await until(lambda: wares.reachable)

        assert events(logs) == once("too many connections")
        assert await wares.fetch("pid")
    await other.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("refuse", "allow"),
    [
        ("ALTER DATABASE {} ALLOW_CONNECTIONS false", "ALTER DATABASE {} ALLOW_CONNECTIONS true"),
        ("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", "GRANT CONNECT ON DATABASE {} TO PUBLIC"),
    ],
    ids=["by the database", "by rights"],
)
async def test_a_rejected_connection_is_an_outage_until_it_is_accepted(
    database: str, postgres: PostgresServer, refuse: str, allow: str
) -> None:
    name, role = database.rpartition("/")[2], f"refused_{os.getpid()}"
    await postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'wares'")
    await postgres.execute(refuse.format(name))
    dsn = f"postgresql://{role}:wares@{database.partition('@')[2]}"
    async with opened(dsn) as wares:
        with capture_logs() as logs:
            for _ in range(5):
                with pytest.raises(DatabaseUnavailable) as refused:
                    await wares.fetch("pid")
                assert refused.value.cause == "connection refused"
            assert not wares.reachable
            await postgres.execute(allow.format(name))

            await until(lambda: wares.reachable)

        assert events(logs) == once("connection refused")
    await postgres.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("sqlstate", "cause"),
    [("53200", "out of memory"), ("53000", "out of resources"), ("58030", "I/O error")],
)
async def test_a_lack_of_resources_is_an_outage_until_no_statement_fails(
    wares: Database, other: asyncpg.Connection, sqlstate: str, cause: str
) -> None:
    await other.execute(FAILING.format(sqlstate=sqlstate))
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                await wares.execute("fail")
            assert await names(wares) == []
            assert not wares.reachable

        await until(lambda: wares.reachable)

    assert events(logs) == once(cause)


async def test_one_cancelled_statement_does_not_make_the_database_unavailable(
    wares: Database, other: asyncpg.Connection
) -> None:
    with capture_logs() as logs:
        sleeping = asyncio.create_task(wares.execute("sleep", seconds=60))
        await until(lambda: cancel_one(other))
        with pytest.raises(DatabaseUnavailable) as refused:
            await sleeping
        assert refused.value.cause == "statement cancelled"
        assert wares.reachable
        assert await names(wares) == []

    assert events(logs) == [("database statement failed", "statement cancelled")]


async def cancel_one(other: asyncpg.Connection) -> bool:
    return bool(
        await other.fetchval(
            "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity "
            "WHERE wait_event = 'PgSleep' AND datname = current_database()"
        )
    )


async def test_a_query_that_cannot_get_its_lock_makes_the_database_unavailable_until_it_can(
    database: str, postgres: PostgresServer, wares: Database, other: asyncpg.Connection
) -> None:
    name = database.rpartition("/")[2]
    await postgres.execute(f"ALTER DATABASE {name} SET lock_timeout = '50ms'")
    async with opened(database) as impatient:
        with capture_logs() as logs:
            async with other.transaction():
                await other.execute("LOCK TABLE wares IN EXCLUSIVE MODE")
                for attempt in range(FAILURES_IN_A_ROW):
                    assert impatient.reachable, f"after {attempt} failures"
                    with pytest.raises(DatabaseUnavailable) as refused:
                        await impatient.execute("add", name="tea")
                    assert refused.value.cause == "lock timeout"
                    assert await names(impatient) == []
                assert not impatient.reachable
            await impatient.execute("add", name="tea")
            assert impatient.reachable

        assert events(logs) == [("database statement failed", "lock timeout")]


async def test_a_crash_of_the_server_is_an_outage_until_it_has_recovered(wares: Database) -> None:
    await wares.execute("add", name="tea")
    row = await wares.fetch_one("pid")
    assert row is not None
    with capture_logs() as logs:
        sleeping = asyncio.create_task(wares.execute("sleep", seconds=60))
        os.kill(row["pid"], signal.SIGKILL)
        with pytest.raises(DatabaseUnavailable):
            await sleeping
        assert not wares.reachable

        await until(lambda: wares.reachable)

    assert await names(wares) == ["tea"]
    causes = [cause for event, cause in events(logs) if event == "database unavailable"]
    assert len(causes) == len(set(causes))


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
async def test_a_statement_that_always_conflicts_is_unavailable(
    wares: Database, other: asyncpg.Connection, sqlstate: str
) -> None:
    await other.execute(FAILING.format(sqlstate=sqlstate))

    with pytest.raises(DatabaseUnavailable) as refused:
        await wares.execute("fail")

    assert refused.value.cause == "transaction rolled back"
    assert wares.reachable


async def test_an_exceeded_deadline_is_not_an_outage(
    wares: Database,
) -> None:
    async def hurried(query: str, **values: object) -> None:
        deadline.start(0.05)
        for _ in range(2 * FAILURES_IN_A_ROW):
            with pytest.raises(DatabaseUnavailable):
                await wares.execute(query, **values)

    with capture_logs() as logs:
        await asyncio.create_task(hurried("sleep", seconds=60))
        for _ in range(FAILURES_IN_A_ROW):
            abandoned = asyncio.create_task(wares.execute("sleep", seconds=60))
            await asyncio.sleep(0)
            abandoned.cancel()
            await asyncio.wait([abandoned])
            assert abandoned.cancelled()

    assert wares.reachable
    assert events(logs) == []


async def test_a_value_rejected_by_the_driver_is_not_an_outage(
    wares: Database,
) -> None:
    with pytest.raises(asyncpg.DataError, match="invalid input for query argument"):
        await wares.execute("add", name=7)

    assert wares.reachable


@pytest.mark.parametrize("sqlstate", ["42703", "42501", "XX000"])
async def test_a_permanent_error_is_raised_unchanged(
    wares: Database, other: asyncpg.Connection, sqlstate: str
) -> None:
    await other.execute(FAILING.format(sqlstate=sqlstate))

    with pytest.raises(asyncpg.PostgresError) as failed:
        await wares.execute("fail")

    assert failed.value.sqlstate == sqlstate
    assert wares.reachable


FAILS_TWICE = """
CREATE SEQUENCE attempts;
CREATE FUNCTION attempt() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- A sequence keeps what the rest of the transaction loses.
    IF nextval('attempts') < 3 THEN
        RAISE 'no room' USING ERRCODE = 'disk_full';
    END IF;
END $$;
"""


async def test_migrations_wait_for_the_end_of_an_outage(
    database: str, other: asyncpg.Connection
) -> None:
    await other.execute(FAILS_TWICE)
    step = Migration(1, "begin", "SELECT attempt(); CREATE TABLE shop.wares (id int)")

    with capture_logs() as logs:
        await migrate_when_reachable(DatabaseConfig(dsn=Secret(database)), "shop", [step])

    assert await other.fetchval("SELECT count(*) FROM shop.wares") == 0
    waiting = [entry["cause"] for entry in logs if entry["event"] == "waiting for the database"]
    assert waiting == ["disk full"]


async def test_a_listener_waits_for_the_end_of_an_outage_and_logs_it_once(
    database: str, other: asyncpg.Connection
) -> None:
    await other.execute(FAILS_TWICE)
    connected = asyncio.Event()
    with capture_logs() as logs:
        listening = asyncio.create_task(
            listen(
                DatabaseConfig(dsn=Secret(database)),
                "market",
                lambda _: None,
                connected.set,
                setup="SELECT attempt()",
            )
        )
        await until(connected.is_set)
        listening.cancel()
        await asyncio.wait([listening])

    assert [entry["event"] for entry in logs] == [
        "database notifications lost",
        "database notifications restored",
    ]
