"""Job runners in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from spincycle.database.database import Database
from spincycle.request_manager.model import ChainHolder, Runner
from spincycle.state import State


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
class SignOfLife:
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
class Wishes:
    """Requests of one runner that somebody wants stopped or suspended.

    Attributes:
        chains_digest: of the requests that are RUNNING on the runner, as a runner computes it.
    """

    stop: tuple[str, ...]
    suspend: tuple[str, ...]
    chains_digest: int


@dataclass(frozen=True, slots=True)
class Silence:
    """What a look for silent runners found.

    Attributes:
        given_up: ids of those that were silent for too long; they are gone now.
        next_due: seconds until the first of the others can have been; None if there are none.
    """

    given_up: Sequence[str]
    next_due: float | None


class RunnerStore:
    """What the use cases ask of the table of runners.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, runner: Registration) -> bool:
        """Make a runner known; False if it was given up under this id before."""
        row = await self._database.fetch_one(
            "register_runner",
            runner_id=runner.runner_id,
            address=runner.address,
            max_chains=runner.max_chains,
            max_jobs=runner.max_jobs,
            job_types=list(runner.job_types),
            version=runner.version,
            features=list(runner.features),
        )
        return row is not None

    async def beat(self, sign: SignOfLife) -> Wishes | None:
        """Note a sign of life; None if the runner is not known or was given up."""
        row = await self._database.fetch_one(
            "beat_runner",
            runner_id=sign.runner_id,
            chains=sign.chains,
            jobs=sign.jobs,
            draining=sign.draining,
            leaving=sign.leaving,
            behind=sign.behind,
        )
        if row is None:
            return None
        # A bigint has a sign, the digest of the contract has none.
        digest = row["chains_digest"] % 2**64
        return Wishes(tuple(row["stop"]), tuple(row["suspend"]), digest)

    async def live(self) -> Sequence[Runner]:
        """Runners that are not gone."""
        return [
            Runner(
                **{
                    **row,
                    "features": frozenset(row["features"]),
                    "job_types": frozenset(row["job_types"]),
                }
            )
            for row in await self._database.fetch("live_runners")
        ]

    async def give_up(self, silence: float, silence_if_replaced: float, gap: float) -> Silence:
        """Give up runners that were silent for so many seconds.

        That is also a look of this request manager: if none looked for `gap` seconds, silence
        is counted anew.
        """
        row = await self._database.fetch_one(
            "give_up_runners",
            silence=timedelta(seconds=silence),
            silence_if_replaced=timedelta(seconds=silence_if_replaced),
            gap=timedelta(seconds=gap),
        )
        assert row is not None
        due = row["next_due"]
        return Silence(row["given_up"], None if due is None else due.total_seconds())

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
