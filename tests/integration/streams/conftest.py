from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.conftest import *  # noqa: F403
from tests.chaos.home import running
from tests.waiting import until


@pytest.fixture
def shape(request: pytest.FixtureRequest) -> Shape:
    """Two of each but the job log; for tests that kill runners, they are given up soon."""
    soon = {"BEAT_INTERVAL": "0.3", "SILENCE_LIMIT": "2"}
    is_runner_killed = "runner" in request.node.name
    return Shape(job_logs=1, gateway=False, settings={"RM": soon} if is_runner_killed else {})


@pytest.fixture
async def cluster(home: Path, shape: Shape) -> AsyncIterator[Cluster]:
    """All of it, and the runners known."""
    async with running(home, shape) as cluster:
        looking = await cluster.connect()
        counted = "SELECT count(*) = 2 FROM request_manager.runners"
        await until(lambda: looking.fetchval(counted))
        await looking.close()
        yield cluster
