from __future__ import annotations

from importlib.resources import files

import asyncpg

from spincycle.database.schema import describe_schema
from spincycle.job_log.process import PACKAGE, SCHEMA


async def test_the_migrations_produce_the_documented_schema(
    connection: asyncpg.Connection,
) -> None:
    written = files(PACKAGE).joinpath("migrations", "schema.txt").read_text(encoding="utf-8")

    assert await describe_schema(connection, SCHEMA) == written
