from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.postgres_fixtures import database, postgres

__all__ = ["database", "postgres"]


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that any account may enter, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp(prefix="spincycle-test-"))
    yield directory
    shutil.rmtree(directory)
