"""Registrations and heartbeats of runners."""

from __future__ import annotations

import structlog

from spincycle.errors import InvalidInput, RunnerUnknown
from spincycle.request_manager.runners.silence import SilenceMonitor
from spincycle.request_manager.storage.change_bus import RESYNC, ChangeBus
from spincycle.request_manager.storage.heartbeats import (
    Heartbeat,
    Registration,
    StopSignals,
    StoredHeartbeat,
)
from spincycle.request_manager.storage.runner_store import RunnerStore


class RunnerRegistry:
    """Registers runners and stores their heartbeats.

    Registrations and departures are published, so that every request manager reads the live runners
    again.
    """

    def __init__(self, store: RunnerStore, silences: SilenceMonitor, changes: ChangeBus) -> None:
        self._store = store
        self._changes = changes
        self._silences = silences

    async def register(self, runner: Registration) -> StoredHeartbeat:
        """Register a runner.

        Raises:
            RunnerUnknown: the runner was deregistered under this id.
            InvalidInput: the id or the address is empty.
        """
        if not runner.runner_id:
            raise InvalidInput("a runner must have an id", "runner_id")
        if not runner.address:
            raise InvalidInput("a runner must have an address at which it is reached", "address")
        stored = await self._store.register(runner)
        if stored is None:
            raise RunnerUnknown(runner.runner_id)
        self._silences.received(runner.runner_id, stored.heartbeat)
        structlog.get_logger().info(
            "runner registered", runner_id=runner.runner_id, address=runner.address
        )
        # At all request managers, it gets requests, and watches receive its events from now.
        self._changes.publish([RESYNC])
        return stored

    async def store_heartbeat(self, heartbeat: Heartbeat) -> StopSignals:
        """Store a heartbeat; return the desired states of the runner's requests.

        Raises:
            RunnerUnknown: the runner is not registered, or was deregistered.
        """
        signals = await self._store.store_heartbeat(heartbeat)
        if signals is None:
            raise RunnerUnknown(heartbeat.runner_id)
        self._silences.received(heartbeat.runner_id, signals.stored.heartbeat)
        if heartbeat.leaving:
            structlog.get_logger().info("runner left", runner_id=heartbeat.runner_id)
            self._changes.publish([RESYNC])
        return signals
