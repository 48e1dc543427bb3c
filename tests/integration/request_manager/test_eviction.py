"""Eviction of silent runners in a database that request managers share."""

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

TIMEOUTS = RecoveryPolicy(interval=1.0, silence_timeout=8.0).timeouts


class Observer:
    """The eviction of one request manager, by a clock that the test advances."""

    def __init__(self, database: Database) -> None:
        self.now = 0.0
        self.store = RunnerStore(database)
        self._monitor = SilenceMonitor(TIMEOUTS, lambda: self.now)

    async def register(self, runner_id: str) -> StoredHeartbeat | None:
        return await self.store.register(Registration(runner_id, "nowhere:1", 0, 0, (), ""))

    async def beat(self, runner_id: str) -> StopSignals | None:
        return await self.store.store_heartbeat(
            Heartbeat(runner_id, 0, 0, draining=False, leaving=False, journal_lag=0.0)
        )

    async def scan(self) -> list[str]:
        """Scan and evict runners; return the ids of the evicted ones."""
        result = await self.store.evict(self._monitor.overdue())
        self._monitor.scanned(result.live)
        return list(result.evicted)

    async def scan_for(self, seconds: int) -> list[str]:
        """Scan once per second."""
        evicted: list[str] = []
        for _ in range(seconds):
            self.now += 1.0
            evicted += await self.scan()
        return evicted


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
    await observer.scan()
    return observer


async def test_a_silent_runner_is_evicted_for_good(observer: Observer) -> None:
    await observer.register("r")
    await observer.scan()

    assert await observer.scan_for(7) == []
    assert await observer.scan_for(1) == ["r"]

    assert await observer.beat("r") is None
    assert await observer.register("r") is None
    assert await observer.scan_for(20) == []


async def test_heartbeats_that_another_request_manager_received_count(
    observer: Observer, database: Database
) -> None:
    other = Observer(database)
    await other.register("r")
    for _ in range(10):
        assert await observer.scan_for(4) == []
        assert await other.beat("r") is not None

    assert await observer.scan_for(8) == []
    assert await observer.scan_for(1) == ["r"]


async def test_a_heartbeat_before_the_eviction_prevents_it(observer: Observer) -> None:
    registered = await observer.register("r")
    assert registered is not None
    await observer.scan()

    assert await observer.beat("r") is not None

    result = await observer.store.evict({"r": registered.heartbeat})
    assert result.evicted == []
    assert [runner.runner_id for runner in result.live] == ["r"]


async def test_a_request_manager_that_has_just_started_waits_a_whole_timeout(
    observer: Observer, database: Database
) -> None:
    await observer.register("r")
    await observer.scan_for(7)

    started = Observer(database)
    await started.scan()

    assert await started.scan_for(7) == []
    assert await observer.scan_for(1) == []
    assert await started.scan_for(1) == ["r"]


async def test_a_runner_that_was_replaced_at_its_address_is_evicted_sooner(
    observer: Observer,
) -> None:
    for runner_id in ("silent", "replacement"):
        await observer.register(runner_id)
    await observer.scan()

    for _ in range(2):
        assert await observer.scan_for(1) == []
        await observer.beat("replacement")

    assert await observer.scan_for(1) == ["silent"]


async def test_heartbeats_have_no_times_in_the_database(
    observer: Observer, config: RequestManagerConfig
) -> None:
    await observer.register("r")
    session = await asyncpg.connect(config.database.dsn.reveal())
    before = await session.fetchrow("SELECT * FROM request_manager.runners")
    await observer.beat("r")
    after = await session.fetchrow("SELECT * FROM request_manager.runners")
    await session.close()

    assert before is not None
    assert after is not None
    changed = {key for key, value in after.items() if value != before[key]}
    assert changed == {"heartbeat"}
