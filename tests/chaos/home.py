"""Where a cluster lives while a test uses it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.chaos.cluster import Cluster, Shape

from spincycle.dev.reaper import Reaper
from spincycle.dev.stack_processes import end_processes


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A directory for everything; what runs there is ended, even if the tests are killed."""
    directory = Path(tempfile.mkdtemp(prefix="spincycle-cluster-"))
    directory.chmod(0o755)
    reaper = Reaper(directory, remove=[directory])
    yield directory
    end_processes(directory, 0.0)
    reaper.dismiss()
    shutil.rmtree(directory)


@asynccontextmanager
async def running(home: Path, shape: Shape) -> AsyncIterator[Cluster]:
    """A cluster of that shape, ready."""
    cluster = Cluster(home, shape)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()
