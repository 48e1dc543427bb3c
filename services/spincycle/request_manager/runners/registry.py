"""Registrations and heartbeats of runners."""

from __future__ import annotations

from collections import OrderedDict

import structlog

from spincycle.errors import InvalidInput, NotYours, RunnerUnknown, SpinCycleError
from spincycle.request_manager.runners.silence import SilenceMonitor
from spincycle.request_manager.storage.change_bus import RESYNC, ChangeBus
from spincycle.request_manager.storage.heartbeats import (
    Heartbeat,
    Registration,
    StopSignals,
    StoredHeartbeat,
)
from spincycle.request_manager.storage.runner_store import RunnerStore

MAX_CACHED_OWNERS = 10_000
"""Runner ids whose identities are kept in memory."""


class RunnerRegistry:
    """Registers runners, stores their heartbeats, and checks who speaks for them.

    Registrations and departures are published, so that every request manager reads the live runners
    again.
    """

    def __init__(self, store: RunnerStore, silences: SilenceMonitor, changes: ChangeBus) -> None:
        self._store = store
        self._changes = changes
        self._silences = silences
        self._owners: OrderedDict[str, str] = OrderedDict()

    async def register(self, runner: Registration) -> StoredHeartbeat:
        """Register a runner. Its id then belongs to the identity of the caller.

        Raises:
            RunnerUnknown: the runner was deregistered under this id.
            NotYours: another identity registered the id.
            InvalidInput: the id or the address is empty.
        """
        if not runner.runner_id:
            raise InvalidInput("a runner must have an id", "runner_id")
        if not runner.address:
            raise InvalidInput("a runner must have an address at which it is reached", "address")
        stored = await self._store.register(runner)
        if stored is None:
            raise await self._refusal(runner.runner_id, runner.identity)
        self._keep_owner(runner.runner_id, runner.identity)
        self._silences.received(runner.runner_id, stored.heartbeat)
        structlog.get_logger().info(
            "runner registered",
            runner_id=runner.runner_id,
            address=runner.address,
            identity=runner.identity,
        )
        # At all request managers, it gets requests, and watches receive its events from now.
        self._changes.publish([RESYNC])
        return stored

    async def store_heartbeat(self, heartbeat: Heartbeat) -> StopSignals:
        """Store a heartbeat; return the desired states of the runner's requests.

        Raises:
            RunnerUnknown: the runner is not registered, or was deregistered.
            NotYours: another identity registered the runner.
        """
        signals = await self._store.store_heartbeat(heartbeat)
        if signals is None:
            raise await self._refusal(heartbeat.runner_id, heartbeat.identity)
        self._silences.received(heartbeat.runner_id, signals.stored.heartbeat)
        if heartbeat.leaving:
            structlog.get_logger().info("runner left", runner_id=heartbeat.runner_id)
            self._changes.publish([RESYNC])
        return signals

    async def check_owner(self, runner_id: str, identity: str) -> None:
        """Check that an identity registered a runner; the runner may have left since.

        Raises:
            NotYours: it did not.
            DatabaseUnavailable: the owner of the id is not known here and cannot be read.
        """
        owner = self._owners.get(runner_id)
        if owner is None:
            found = await self._store.owner(runner_id)
            if found is None:
                raise _not_yours(runner_id, identity, "no such runner is registered")
            owner = found.identity
        self._keep_owner(runner_id, owner)
        if owner != identity:
            raise _not_yours(runner_id, identity, "another identity registered it")

    async def _refusal(self, runner_id: str, identity: str) -> SpinCycleError:
        """Return why nothing was stored for a runner.

        A runner whose own id was deregistered must get to know that, whatever its identity is now.
        """
        owner = await self._store.owner(runner_id)
        if owner is None or not owner.is_live or owner.identity == identity:
            return RunnerUnknown(runner_id)
        return _not_yours(runner_id, identity, "another identity registered it")

    def _keep_owner(self, runner_id: str, identity: str) -> None:
        self._owners[runner_id] = identity
        self._owners.move_to_end(runner_id)
        if len(self._owners) > MAX_CACHED_OWNERS:
            self._owners.popitem(last=False)


def _not_yours(runner_id: str, identity: str, problem: str) -> NotYours:
    return NotYours(identity, f'runner "{runner_id}"', problem)
