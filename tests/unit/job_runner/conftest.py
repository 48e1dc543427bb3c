from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.job_runner.stage import Stage, turns


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    made.runner.abandon_all()
    await turns()
    for task in list(made.environment.abandoned_tasks):
        task.cancel()
    await turns()
