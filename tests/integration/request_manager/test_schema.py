from __future__ import annotations

from importlib.resources import files

import asyncpg
from tests.integration.request_manager.conftest import Manager

from spincycle.database.schema import describe_schema
from spincycle.request_manager.process import PACKAGE, SCHEMA


async def test_the_migrations_give_the_schema_that_is_recorded_beside_them(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    recorded = files(PACKAGE).joinpath("migrations", "schema.txt").read_text(encoding="utf-8")

    assert await describe_schema(connection, SCHEMA) == recorded
