from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from spincycle.errors import NotYours
from spincycle.request_manager.runners.recovery import RecoveryPolicy
from spincycle.request_manager.runners.registry import MAX_CACHED_OWNERS, RunnerRegistry
from spincycle.request_manager.runners.silence import Silence, SilenceMonitor
from spincycle.request_manager.storage.change_bus import RESYNC, ChangeBus
from spincycle.request_manager.storage.heartbeats import (
    Heartbeat,
    HeartbeatId,
    Registration,
    RunnerOwner,
    StopSignals,
    StoredHeartbeat,
)

RUNNER = Registration("r", "here:1", 0, 0, (), "")
HEARTBEAT = Heartbeat("r", 0, 0, draining=False, leaving=False, journal_lag=0.0)


class Rows:
    """Stores every heartbeat under the next number."""

    number = 0

    def __init__(self) -> None:
        self.owners: dict[str, RunnerOwner] = {}
        self.reads: list[str] = []

    async def owner(self, runner_id: str) -> RunnerOwner | None:
        self.reads.append(runner_id)
        return self.owners.get(runner_id)

    async def register(self, runner: Registration) -> StoredHeartbeat:
        self.number += 1
        return StoredHeartbeat(HeartbeatId("this", self.number), datetime(2026, 1, 1, tzinfo=UTC))

    async def store_heartbeat(self, heartbeat: Heartbeat) -> StopSignals:
        return StopSignals((), (), 0, await self.register(RUNNER))


async def test_registrations_and_heartbeats_that_this_request_manager_received_count_at_once() -> (
    None
):
    now = 100.0
    monitor = SilenceMonitor(RecoveryPolicy().timeouts, lambda: now)
    rows: Any = Rows()
    registry = RunnerRegistry(rows, monitor, ChangeBus())

    await registry.register(RUNNER)
    now += 5.0
    assert monitor.silence("r") == Silence(5.0, is_exact=True)
    await registry.store_heartbeat(HEARTBEAT)
    now += 1.0

    assert monitor.silence("r") == Silence(1.0, is_exact=True)


async def test_registrations_and_departures_are_published_to_all_request_managers() -> None:
    rows: Any = Rows()
    changes = ChangeBus()
    published: list[list[str]] = []
    changes.forward_to(published.append)
    registry = RunnerRegistry(rows, SilenceMonitor(RecoveryPolicy().timeouts), changes)

    await registry.register(RUNNER)
    await registry.store_heartbeat(HEARTBEAT)
    assert published == [[RESYNC]]

    await registry.store_heartbeat(replace(HEARTBEAT, leaving=True))
    assert published == [[RESYNC], [RESYNC]]


def registry_of(rows: Any) -> RunnerRegistry:
    return RunnerRegistry(rows, SilenceMonitor(RecoveryPolicy().timeouts), ChangeBus())


async def test_the_identity_of_a_runner_that_registered_here_is_known_without_a_query() -> None:
    rows = Rows()
    registry = registry_of(rows)
    await registry.register(replace(RUNNER, identity="a"))

    await registry.check_owner("r", "a")
    with pytest.raises(NotYours):
        await registry.check_owner("r", "b")

    assert rows.reads == []


async def test_the_identity_of_another_runner_is_read_once() -> None:
    rows = Rows()
    rows.owners["s"] = RunnerOwner("a", is_live=False)
    registry = registry_of(rows)

    for _ in range(3):
        await registry.check_owner("s", "a")
        with pytest.raises(NotYours):
            await registry.check_owner("s", "b")

    assert rows.reads == ["s"]


async def test_ids_of_unknown_runners_are_refused_and_take_no_memory() -> None:
    rows = Rows()
    registry = registry_of(rows)
    with pytest.raises(NotYours):
        await registry.check_owner("s", "a")
    rows.owners["s"] = RunnerOwner("a", is_live=True)

    await registry.check_owner("s", "a")


async def test_only_the_identities_used_last_are_kept() -> None:
    rows = Rows()
    registry = registry_of(rows)
    for number in range(MAX_CACHED_OWNERS):
        await registry.register(replace(RUNNER, runner_id=str(number), identity="a"))
    await registry.check_owner("0", "a")
    await registry.register(replace(RUNNER, runner_id="last", identity="a"))
    rows.owners["1"] = RunnerOwner("a", is_live=True)

    await registry.check_owner("0", "a")
    await registry.check_owner("1", "a")

    assert rows.reads == ["1"]
