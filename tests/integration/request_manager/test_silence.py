"""Runners that fall silent, in the database that several request managers share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from tests.integration.request_manager.conftest import ShelvedJobLog, running_manager

from spincycle.database.database import Database
from spincycle.database.queries import load_queries
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.runners.recovery import RecoveryPolicy
from spincycle.request_manager.runners.silence import SilenceMonitor
from spincycle.request_manager.storage.heartbeats import (
    Heartbeat,
    Registration,
    StopSignals,
    StoredHeartbeat,
)
from spincycle.request_manager.storage.runner_store import RunnerStore

LIMITS = RecoveryPolicy(interval=1.0, silence=8.0).limits


class Observer:
    """One request manager as far as it looks at runners, by a clock that the test moves."""

    def __init__(self, database: Database) -> None:
        self.now = 0.0
        self.store = RunnerStore(database)
        self._monitor = SilenceMonitor(LIMITS, lambda: self.now)

    async def register(self, runner_id: str) -> StoredHeartbeat | None:
        return await self.store.register(Registration(runner_id, "nowhere:1", 0, 0, (), ""))

    async def beat(self, runner_id: str) -> StopSignals | None:
        return await self.store.beat(Heartbeat(runner_id, 0, 0, False, False, 0.0))

    async def look(self) -> list[str]:
        """Look at the runners; return those that were given up with it."""
        look = await self.store.give_up(self._monitor.overdue())
        self._monitor.looked(look.live)
        return list(look.evicted)

    async def look_for(self, seconds: int) -> list[str]:
        """Look once per second."""
        given_up: list[str] = []
        for _ in range(seconds):
            self.now += 1.0
            given_up += await self.look()
        return given_up


@pytest.fixture
async def database(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[Database]:
    async with running_manager(config, job_log[0]):
        pass
    async with _opened(config) as database:
        yield database


@asynccontextmanager
async def _opened(config: RequestManagerConfig) -> AsyncIterator[Database]:
    queries = load_queries("spincycle.request_manager")
    database = await Database.open(config.database, queries, "test")
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def observer(database: Database) -> Observer:
    observer = Observer(database)
    await observer.look()
    return observer


async def test_a_silent_runner_is_given_up_for_good(observer: Observer) -> None:
    await observer.register("r")
    await observer.look()

    assert await observer.look_for(7) == []
    assert await observer.look_for(1) == ["r"]

    assert await observer.beat("r") is None
    assert await observer.register("r") is None
    assert await observer.look_for(20) == []


async def test_heartbeats_that_another_request_manager_received_count(
    observer: Observer, database: Database
) -> None:
    other = Observer(database)
    await other.register("r")
    for _ in range(10):
        assert await observer.look_for(4) == []
        assert await other.beat("r") is not None

    assert await observer.look_for(8) == []
    assert await observer.look_for(1) == ["r"]


async def test_a_heartbeat_that_comes_before_the_eviction_wins(observer: Observer) -> None:
    registered = await observer.register("r")
    assert registered is not None
    await observer.look()

    assert await observer.beat("r") is not None

    look = await observer.store.give_up({"r": registered.heartbeat})
    assert look.evicted == []
    assert [runner.runner_id for runner in look.live] == ["r"]


async def test_a_request_manager_that_has_just_started_waits_a_full_silence(
    observer: Observer, database: Database
) -> None:
    await observer.register("r")
    await observer.look_for(7)

    started = Observer(database)
    await started.look()

    assert await started.look_for(7) == []
    assert await observer.look_for(1) == []
    assert await started.look_for(1) == ["r"]


async def test_a_runner_that_was_replaced_at_its_address_is_given_up_sooner(
    observer: Observer,
) -> None:
    for runner_id in ("silent", "replacement"):
        await observer.register(runner_id)
    await observer.look()

    for _ in range(2):
        assert await observer.look_for(1) == []
        await observer.beat("replacement")

    assert await observer.look_for(1) == ["silent"]


async def test_heartbeats_have_no_times_in_the_database(
    observer: Observer, config: RequestManagerConfig
) -> None:
    await observer.register("r")
    session = await asyncpg.connect(config.database.dsn.reveal())
    before = await session.fetchrow("SELECT * FROM request_manager.runners")
    await observer.beat("r")
    after = await session.fetchrow("SELECT * FROM request_manager.runners")
    await session.close()

    changed = {key for key, value in after.items() if value != before[key]}
    assert changed == {"heartbeat"}
