"""Job runners in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

import asyncpg

from spincycle.database.database import Database
from spincycle.model.request_id import RequestIds
from spincycle.request_manager.storage.heartbeats import (
    EvictionResult,
    Heartbeat,
    HeartbeatId,
    LiveRunner,
    Registration,
    RunnerOwner,
    StopSignals,
    StoredHeartbeat,
)
from spincycle.request_manager.storage.model import Runner


class RunnerStore:
    """Registers runners, stores their heartbeats, and evicts them.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._observer = RequestIds().new()
        self._numbers = count(1)

    async def register(self, runner: Registration) -> StoredHeartbeat | None:
        """Register a runner; return None if it is deregistered or another identity's."""
        heartbeat = self._next_heartbeat()
        row = await self._database.fetch_one(
            "register_runner",
            runner_id=runner.runner_id,
            address=runner.address,
            max_chains=runner.max_chains,
            max_jobs=runner.max_jobs,
            job_types=list(runner.job_types),
            version=runner.version,
            features=list(runner.features),
            identity=runner.identity,
            observer=heartbeat.observer,
            heartbeat=heartbeat.number,
        )
        return StoredHeartbeat(heartbeat, row["stored_at"]) if row else None

    async def store_heartbeat(self, heartbeat: Heartbeat) -> StopSignals | None:
        """Store a heartbeat; return None if the runner is unknown, deregistered or another's."""
        id_ = self._next_heartbeat()
        row = await self._database.fetch_one(
            "store_heartbeat",
            runner_id=heartbeat.runner_id,
            chains=heartbeat.chains,
            jobs=heartbeat.jobs,
            draining=heartbeat.draining,
            leaving=heartbeat.leaving,
            journal_lag=heartbeat.journal_lag,
            loop_lag=heartbeat.loop_lag,
            identity=heartbeat.identity,
            observer=id_.observer,
            heartbeat=id_.number,
        )
        if row is None:
            return None
        # A bigint is signed; the digest of the contract is not.
        digest = row["chains_digest"] % 2**64
        stored = StoredHeartbeat(id_, row["stored_at"])
        return StopSignals(tuple(row["stop"]), tuple(row["suspend"]), digest, stored)

    async def owner(self, runner_id: str) -> RunnerOwner | None:
        """Return who registered a runner, live or not; None if nobody did."""
        row = await self._database.fetch_one("runner_owner", runner_id=runner_id)
        return RunnerOwner(row["identity"], row["is_live"]) if row else None

    async def live(self) -> Sequence[Runner]:
        """Return the live runners."""
        return [_runner(row) for row in await self._database.fetch("live_runners")]

    async def evict(self, overdue: Mapping[str, HeartbeatId]) -> EvictionResult:
        """Evict those of the runners whose last heartbeat is still the given one."""
        rows = await self._database.fetch(
            "evict_runners",
            runner_ids=list(overdue),
            observers=[heartbeat.observer for heartbeat in overdue.values()],
            heartbeats=[heartbeat.number for heartbeat in overdue.values()],
        )
        return EvictionResult(
            evicted=[row["runner_id"] for row in rows if row["evicted"]],
            live=[
                LiveRunner(
                    row["runner_id"],
                    row["address"],
                    row["registration"],
                    _heartbeat(row),
                    row["identity"],
                )
                for row in rows
                if not row["evicted"]
            ],
        )

    def _next_heartbeat(self) -> HeartbeatId:
        return HeartbeatId(self._observer, next(self._numbers))


def _heartbeat(row: asyncpg.Record) -> HeartbeatId:
    return HeartbeatId(row["observer"], row["heartbeat"])


def _runner(row: asyncpg.Record) -> Runner:
    values = dict(row)
    del values["observer"]
    values["heartbeat"] = _heartbeat(row)
    values["features"] = frozenset(row["features"])
    values["job_types"] = frozenset(row["job_types"])
    return Runner(**values)
