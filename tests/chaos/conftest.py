from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.home import running, temporary_home
from tests.chaos.load import Load


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory for everything; what runs there is ended, even if the tests are killed."""
    with temporary_home() as directory:
        yield directory


@pytest.fixture
def shape() -> Shape:
    return Shape()


@pytest.fixture
async def cluster(home: Path, shape: Shape) -> AsyncIterator[Cluster]:
    """Two request managers, two runners, two job logs and a gateway, ready."""
    async with running(home, shape) as cluster:
        yield cluster


@pytest.fixture
async def load(cluster: Cluster) -> AsyncIterator[Load]:
    load = Load(cluster.request_manager, seed=1)
    yield load
    await load.close()
