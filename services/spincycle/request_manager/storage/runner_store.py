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
    StopSignals,
    StoredHeartbeat,
)
from spincycle.request_manager.storage.model import Runner


class RunnerStore:
    """What the use cases ask of the table of runners.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._observer = RequestIds().new()
        self._numbers = count(1)

    async def register(self, runner: Registration) -> StoredHeartbeat | None:
        """Make a runner known; None if it was given up under this id before."""
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
            observer=heartbeat.observer,
            heartbeat=heartbeat.number,
        )
        return StoredHeartbeat(heartbeat, row["stored_at"]) if row else None

    async def beat(self, sign: Heartbeat) -> StopSignals | None:
        """Note a sign of life; None if the runner is not known or was given up."""
        heartbeat = self._next_heartbeat()
        row = await self._database.fetch_one(
            "store_heartbeat",
            runner_id=sign.runner_id,
            chains=sign.chains,
            jobs=sign.jobs,
            draining=sign.draining,
            leaving=sign.leaving,
            journal_lag=sign.journal_lag,
            observer=heartbeat.observer,
            heartbeat=heartbeat.number,
        )
        if row is None:
            return None
        # A bigint has a sign, the digest of the contract has none.
        digest = row["chains_digest"] % 2**64
        stored = StoredHeartbeat(heartbeat, row["stored_at"])
        return StopSignals(tuple(row["stop"]), tuple(row["suspend"]), digest, stored)

    async def live(self) -> Sequence[Runner]:
        """Runners that are not gone."""
        return [_runner(row) for row in await self._database.fetch("live_runners")]

    async def give_up(self, overdue: Mapping[str, HeartbeatId]) -> EvictionResult:
        """Give up runners whose last heartbeats are still these, and look at all that live."""
        rows = await self._database.fetch(
            "evict_runners",
            runner_ids=list(overdue),
            observers=[heartbeat.observer for heartbeat in overdue.values()],
            heartbeats=[heartbeat.number for heartbeat in overdue.values()],
        )
        return EvictionResult(
            evicted=[row["runner_id"] for row in rows if row["evicted"]],
            live=[
                LiveRunner(row["runner_id"], row["address"], row["registration"], _heartbeat(row))
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
