from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.load import Load

from spincycle.dev.keeper import Keeper
from spincycle.dev.marked import end_marked


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory for everything; what runs there is ended, even if the tests are killed."""
    directory = Path(tempfile.mkdtemp(prefix="spincycle-chaos-"))
    directory.chmod(0o755)
    keeper = Keeper(directory, remove=[directory])
    yield directory
    end_marked(directory, 0.0)
    keeper.dismiss()
    shutil.rmtree(directory)


@pytest.fixture
def shape() -> Shape:
    return Shape()


@pytest.fixture
async def cluster(home: Path, shape: Shape) -> AsyncIterator[Cluster]:
    """Two request managers, two runners, two job logs and a gateway, ready."""
    cluster = Cluster(home, shape)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()


@pytest.fixture
async def load(cluster: Cluster) -> AsyncIterator[Load]:
    load = Load(cluster.request_manager, seed=1)
    yield load
    await load.close()
