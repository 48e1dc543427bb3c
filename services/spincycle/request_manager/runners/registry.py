"""Registrations and heartbeats of runners."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from spincycle.errors import InvalidInput, RunnerUnknown
from spincycle.request_manager.runners.directory import RunnerDirectory
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

    Args:
        on_registered: called after each registration.
    """

    def __init__(
        self,
        store: RunnerStore,
        runners: RunnerDirectory,
        silences: SilenceMonitor,
        changes: ChangeBus,
        on_registered: Callable[[], None],
    ) -> None:
        self._store = store
        self._changes = changes
        self._runners = runners
        self._silences = silences
        self._on_registered = on_registered

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
        self._runners.invalidate()
        self._on_registered()
        # Watches, here and at other request managers, receive the events of the runner from now.
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
            self._runners.invalidate()
        return signals
