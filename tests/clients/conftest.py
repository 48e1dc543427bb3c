from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.home import running, temporary_home
from tests.clients.programs import Program, Run
from tests.clients.stand_in import StandIn

Start = Callable[..., Awaitable[Run]]

_SPECS = Path(__file__).parent / "specs"


@pytest.fixture(scope="package")
def home() -> Iterator[Path]:
    """A directory for the cluster; what runs there is ended, even if the tests are killed."""
    with temporary_home() as directory:
        yield directory


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def cluster(home: Path) -> AsyncIterator[Cluster]:
    """Two request managers, two runners and two job logs, which soon miss a dead runner."""
    settings = {"SPECS_DIR": str(_SPECS), "BEAT_INTERVAL": "0.5", "SILENCE_LIMIT": "2"}
    async with running(home, Shape(gateway=False, settings={"RM": settings})) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="package")
async def runs() -> AsyncIterator[list[Run]]:
    """Programs that the test has started; they are ended with it."""
    runs: list[Run] = []
    yield runs
    for run in runs:
        await run.end()


@pytest.fixture
def start(cluster: Cluster, program: Program, runs: list[Run]) -> Start:
    """Starts the program of the test, with the addresses of the cluster."""

    async def start(*words: str) -> Run:
        run = await Run.start(
            program,
            *words,
            SPINC_ADDR=cluster.request_manager.removeprefix("ipv4:"),
            SPINC_JOB_LOG=cluster.address("JL").removeprefix("ipv4:"),
        )
        runs.append(run)
        return run

    return start


@pytest_asyncio.fixture(loop_scope="package")
async def stand_ins() -> AsyncIterator[list[StandIn]]:
    """Two request managers that answer as the test wants."""
    stand_ins = [StandIn(), StandIn()]
    for stand_in in stand_ins:
        await stand_in.start()
    yield stand_ins
    for stand_in in stand_ins:
        await stand_in.stop()


@pytest.fixture
def stand_in(stand_ins: list[StandIn]) -> StandIn:
    """One of them."""
    return stand_ins[0]
