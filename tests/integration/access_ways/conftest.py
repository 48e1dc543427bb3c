from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from tests.integration.access_ways.people import settings
from tests.integration.access_ways.ways import TYPE, Subject, Ways, headers, open_ways
from tests.postgres_fixtures import PostgresServer, postgres
from tests.security.installation import Installation, running_installation

__all__ = ["postgres"]

FAIL = 4


@pytest.fixture(scope="session")
def installation(postgres: PostgresServer) -> Iterator[Installation]:
    """The four services with the tokens of PEOPLE."""
    database = asyncio.run(postgres.create_database())
    with running_installation(postgres.embedded.dsn(database), settings) as installation:
        yield installation


@pytest.fixture(scope="session")
def ways(installation: Installation) -> Iterator[Ways]:
    """The ways into the installation."""
    with open_ways(installation) as ways:
        yield ways


@pytest.fixture(scope="session")
def subject(ways: Ways) -> Subject:
    """A request that the admin created, and that has failed."""
    as_admin = headers("admin")
    created = ways.http.post("/api/v1/requests", json={"type": TYPE}, headers=as_admin)
    request_id = created.json()["id"]
    end = time.monotonic() + 30
    while True:
        log = ways.http.get(f"/api/v1/full/requests/{request_id}/log", headers=as_admin).json()
        state = ways.http.get(f"/api/v1/requests/{request_id}", headers=as_admin).json()["state"]
        if state == FAIL:
            return Subject(request_id, next(one["jobId"] for one in log if one["state"] == FAIL))
        assert time.monotonic() < end, (state, log)
        time.sleep(0.05)
