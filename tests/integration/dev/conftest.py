from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.postgres_fixtures import database, postgres

from spincycle.dev.stack_processes import end_processes

__all__ = ["database", "postgres"]


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that any account may enter; its stack processes are ended afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="spincycle-test-"))
    yield directory
    end_processes(directory, 0.0)
    shutil.rmtree(directory)
