from __future__ import annotations

import asyncio

import asyncpg
import pytest

from spincycle.database.migrations import Migration, migrate, migrate_when_reachable
from spincycle.runtime.config import ConfigError, DatabaseConfig, Secret

BEGIN = Migration(1, "begin", "CREATE TABLE shop.wares (id int)")
MORE = Migration(2, "more", "ALTER TABLE shop.wares ADD price int; CREATE TABLE shop.bills ()")
BROKEN = Migration(3, "broken", "CREATE TABLE shop.half (); SELECT 1/0")


async def tables(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'shop' ORDER BY tablename"
        )
    finally:
        await connection.close()
    return [row["tablename"] for row in rows]


async def test_missing_steps_are_applied_once_and_in_order(database: str) -> None:
    assert await migrate(database, "shop", [BEGIN]) == [BEGIN]
    assert await migrate(database, "shop", [BEGIN, MORE]) == [MORE]
    assert await migrate(database, "shop", [BEGIN, MORE]) == []
    assert await tables(database) == ["bills", "migrations", "wares"]


async def test_copies_that_start_together_apply_each_step_once(database: str) -> None:
    done = await asyncio.gather(*(migrate(database, "shop", [BEGIN, MORE]) for _ in range(6)))

    assert sorted(map(len, done)) == [0, 0, 0, 0, 0, 2]


async def test_an_applied_step_that_was_edited_is_rejected(database: str) -> None:
    await migrate(database, "shop", [BEGIN])
    edited = Migration(1, "begin", BEGIN.sql + " -- better")

    with pytest.raises(ConfigError, match=r"migration 1 \(begin\) of schema shop was edited"):
        await migrate(database, "shop", [edited, MORE])

    assert await tables(database) == ["migrations", "wares"]


async def test_a_newer_schema_is_not_changed(database: str) -> None:
    await migrate(database, "shop", [BEGIN, MORE])

    assert await migrate(database, "shop", [BEGIN]) == []


async def test_a_failed_step_is_rolled_back_and_reported(database: str) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(database, "shop", [BEGIN, MORE, BROKEN])

    assert await tables(database) == ["bills", "migrations", "wares"]
    corrected = Migration(3, "corrected", "CREATE TABLE shop.half ()")
    assert await migrate(database, "shop", [BEGIN, MORE, corrected]) == [corrected]


async def test_an_invalid_address_is_a_configuration_error() -> None:
    config = DatabaseConfig(dsn=Secret("mysql://nowhere"))

    with pytest.raises(ConfigError, match=r"database\.dsn: "):
        await migrate_when_reachable(config, "job_log", [BEGIN])
