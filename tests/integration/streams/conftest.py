from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.chaos import conftest as chaos
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.home import running
from tests.waiting import until

home = chaos.home


@pytest.fixture
def shape(request: pytest.FixtureRequest) -> Shape:
    """Two of each service but one job log; tests that kill runners evict them early."""
    early = {"BEAT_INTERVAL": "0.3", "SILENCE_LIMIT": "2"}
    is_runner_killed = "runner" in request.node.name
    return Shape(job_logs=1, gateway=False, settings={"RM": early} if is_runner_killed else {})


@pytest.fixture
async def cluster(home: Path, shape: Shape) -> AsyncIterator[Cluster]:
    """A running cluster whose runners are registered."""
    async with running(home, shape) as cluster:
        connection = await cluster.connect()
        counted = "SELECT count(*) = 2 FROM request_manager.runners"
        await until(lambda: connection.fetchval(counted))
        await connection.close()
        yield cluster
