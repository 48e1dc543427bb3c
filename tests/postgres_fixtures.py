"""A real PostgreSQL for integration tests: one server a session, a fresh database a test.

A folder's conftest.py takes what it needs: `from tests.postgres_fixtures import *`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from spincycle.dev.postgres import EmbeddedPostgres
from spincycle.dev.reaper import Reaper
from spincycle.dev.stack_processes import MARK

__all__ = ["PostgresServer", "database", "postgres"]


class PostgresServer:
    """The session's server. A test that kills it starts it again before it ends."""

    def __init__(self, embedded: EmbeddedPostgres) -> None:
        self.embedded = embedded
        self._names = (f"test_{os.getpid()}_{number}" for number in itertools.count(1))

    async def create_database(self, template: str = "template0") -> str:
        """Make a database that equals another one, which nobody may be using now.

        Answers its name; `embedded.dsn(name)` is its address.
        """
        name = next(self._names)
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    async def drop_database(self, name: str) -> None:
        """Delete a database, ending its sessions."""
        await self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def execute(self, statement: str) -> None:
        """Run a statement as the owner of the server."""
        connection = await asyncpg.connect(self.embedded.dsn("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    directory = Path(tempfile.mkdtemp(prefix="spincycle-test-"))
    reaper = Reaper(directory, remove=[directory])
    embedded = EmbeddedPostgres(directory, {**os.environ, MARK: str(directory)})
    try:
        asyncio.run(embedded.start())
        yield PostgresServer(embedded)
    finally:
        asyncio.run(embedded.stop())
        shutil.rmtree(directory)
        reaper.dismiss()


@pytest.fixture
async def database(postgres: PostgresServer) -> AsyncIterator[str]:
    """The address of an empty database that this test has for itself."""
    name = await postgres.create_database()
    yield postgres.embedded.dsn(name)
    await postgres.drop_database(name)
