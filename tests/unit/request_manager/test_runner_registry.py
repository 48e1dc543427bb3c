from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from spincycle.request_manager.runners.recovery import RecoveryPolicy
from spincycle.request_manager.runners.registry import RunnerRegistry
from spincycle.request_manager.runners.silence import Silence, SilenceMonitor
from spincycle.request_manager.storage.change_bus import RESYNC, ChangeBus
from spincycle.request_manager.storage.heartbeats import (
    Heartbeat,
    HeartbeatId,
    Registration,
    StopSignals,
    StoredHeartbeat,
)

RUNNER = Registration("r", "here:1", 0, 0, (), "")
HEARTBEAT = Heartbeat("r", 0, 0, draining=False, leaving=False, journal_lag=0.0)


class Rows:
    """Stores every heartbeat under the next number."""

    number = 0

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
