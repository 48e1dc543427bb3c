from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.postgres_fixtures import PostgresServer, postgres
from tests.security.installation import Installation, running_installation
from tests.security.rogue_runner import RogueRunner, rogue_runner

__all__ = ["postgres"]


@pytest.fixture(scope="session")
def installation(postgres: PostgresServer) -> Iterator[Installation]:
    """The four services with mutual TLS; tests leave it as they found it."""
    database = asyncio.run(postgres.create_database())
    with running_installation(postgres.embedded.dsn(database)) as installation:
        yield installation


@pytest.fixture
async def request_id(installation: Installation) -> AsyncIterator[str]:
    """A request that is RUNNING on the job runner."""
    request_id = await installation.run_request()
    yield request_id
    await installation.stop_request(request_id)


@pytest.fixture
async def rogue(installation: Installation) -> AsyncIterator[RogueRunner]:
    """A job runner of its own identity, not registered yet."""
    async with rogue_runner(installation) as rogue:
        yield rogue
