"""Job runners in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count

import asyncpg

from spincycle.database.database import Database
from spincycle.model.request_id import RequestIds
from spincycle.model.state import State
from spincycle.request_manager.runners.silence import HeartbeatId, LiveRunner
from spincycle.request_manager.storage.model import ChainHolder, Runner


@dataclass(frozen=True, slots=True)
class Registration:
    """What a runner says of itself at boot; limits of 0 mean none."""

    runner_id: str
    address: str
    max_chains: int
    max_jobs: int
    job_types: tuple[str, ...]
    version: str
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a runner says with each beat.

    Attributes:
        behind: seconds for which its oldest journal entry has been waiting.
    """

    runner_id: str
    chains: int
    jobs: int
    draining: bool
    leaving: bool
    behind: float


@dataclass(frozen=True, slots=True)
class Stored:
    """A heartbeat, or a registration, which counts as one, in the database.

    Attributes:
        at: the database's time.
    """

    heartbeat: HeartbeatId
    at: datetime


@dataclass(frozen=True, slots=True)
class StopSignals:
    """Requests of one runner that somebody wants stopped or suspended.

    Attributes:
        chains_digest: of the requests that are RUNNING on the runner, as a runner computes it.
        stored: the heartbeat that this answers.
    """

    stop: tuple[str, ...]
    suspend: tuple[str, ...]
    chains_digest: int
    stored: Stored


@dataclass(frozen=True, slots=True)
class StoredLook:
    """What a look at the runners found.

    Attributes:
        given_up: ids of those that were given up with it; they are gone now.
        live: the others that are not gone.
    """

    given_up: Sequence[str]
    live: Sequence[LiveRunner]


class RunnerStore:
    """What the use cases ask of the table of runners.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._observer = RequestIds().new()
        self._numbers = count(1)

    async def register(self, runner: Registration) -> Stored | None:
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
        return Stored(heartbeat, row["stored_at"]) if row else None

    async def beat(self, sign: Heartbeat) -> StopSignals | None:
        """Note a sign of life; None if the runner is not known or was given up."""
        heartbeat = self._next_heartbeat()
        row = await self._database.fetch_one(
            "beat_runner",
            runner_id=sign.runner_id,
            chains=sign.chains,
            jobs=sign.jobs,
            draining=sign.draining,
            leaving=sign.leaving,
            behind=sign.behind,
            observer=heartbeat.observer,
            heartbeat=heartbeat.number,
        )
        if row is None:
            return None
        # A bigint has a sign, the digest of the contract has none.
        digest = row["chains_digest"] % 2**64
        stored = Stored(heartbeat, row["stored_at"])
        return StopSignals(tuple(row["stop"]), tuple(row["suspend"]), digest, stored)

    async def live(self) -> Sequence[Runner]:
        """Runners that are not gone."""
        return [_runner(row) for row in await self._database.fetch("live_runners")]

    async def give_up(self, overdue: Mapping[str, HeartbeatId]) -> StoredLook:
        """Give up runners whose last heartbeats are still these, and look at all that live."""
        rows = await self._database.fetch(
            "give_up_runners",
            runner_ids=list(overdue),
            observers=[heartbeat.observer for heartbeat in overdue.values()],
            heartbeats=[heartbeat.number for heartbeat in overdue.values()],
        )
        return StoredLook(
            given_up=[row["runner_id"] for row in rows if row["given_up"]],
            live=[
                LiveRunner(row["runner_id"], row["address"], row["registration"], _heartbeat(row))
                for row in rows
                if not row["given_up"]
            ],
        )

    async def chains(self, runner_id: str) -> dict[str, int]:
        """Epochs of the requests that are RUNNING on a runner, by request id."""
        rows = await self._database.fetch("chains_of_runner", runner_id=runner_id)
        return {row["request_id"]: row["epoch"] for row in rows}

    async def holders(self, request_ids: Sequence[str]) -> dict[str, ChainHolder]:
        """Where requests are, by request id; those that do not exist are left out."""
        rows = await self._database.fetch("chain_holders", request_ids=list(request_ids))
        return {
            row["request_id"]: ChainHolder(**{**row, "state": State(row["state"])}) for row in rows
        }

    async def orphan_missing(self, runner_id: str, missing: Mapping[str, int]) -> list[str]:
        """Leave requests to the recovery whose chains their runner does not hold."""
        return await self._orphan("orphan_missing", runner_id, missing)

    async def orphan_strays(self, runner_id: str, strays: Mapping[str, int]) -> list[str]:
        """Leave requests to the recovery that a runner holds against what their rows say."""
        return await self._orphan("orphan_strays", runner_id, strays)

    async def _orphan(self, query: str, runner_id: str, chains: Mapping[str, int]) -> list[str]:
        rows = await self._database.fetch(
            query,
            runner_id=runner_id,
            request_ids=list(chains),
            epochs=list(chains.values()),
        )
        return [row["request_id"] for row in rows]

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
