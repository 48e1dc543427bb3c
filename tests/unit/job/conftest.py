from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from spincycle.job.launcher import Launcher, install


@pytest.fixture
async def launcher() -> AsyncIterator[Launcher]:
    """A launcher that starts the programs of jobs."""
    launcher = Launcher()
    install(launcher)
    running = asyncio.create_task(launcher.run())
    await asyncio.sleep(0)
    yield launcher
    install(None)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@pytest.fixture(params=["directly", "by the launcher"])
def each_way(request: pytest.FixtureRequest) -> None:
    """Run the test without and with a launcher."""
    if request.param == "by the launcher":
        request.getfixturevalue("launcher")
