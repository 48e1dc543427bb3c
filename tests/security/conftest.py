from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.postgres_fixtures import PostgresServer, postgres
from tests.security.installation import Installation, Settings, running_installation
from tests.security.rogue_runner import RogueRunner, rogue_runner
from tests.security.tokens import write_tokens

from spincycle.identity.service_identity import GATEWAY, JOB_LOG, REQUEST_MANAGER

__all__ = ["postgres"]


def people(home: Path) -> Settings:
    """Settings with which people may show tokens, and the account of the tests nothing."""
    file = write_tokens(home, {"ada": ["admin"], "vera": ["viewer"]})
    auth = {"AUTH__TOKEN_FILE": str(file), "AUTH__LOCAL_USER": "true"}
    return {REQUEST_MANAGER: auth, JOB_LOG: auth, GATEWAY: auth}


@pytest.fixture(scope="session")
def installation(postgres: PostgresServer) -> Iterator[Installation]:
    """The four services with mutual TLS; tests leave it as they found it."""
    database = asyncio.run(postgres.create_database())
    with running_installation(postgres.embedded.dsn(database), people) as installation:
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
