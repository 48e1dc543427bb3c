"""Reports of runners about their requests, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from spincycle.database.database import Database
from spincycle.model.state import State
from spincycle.request_manager.storage.model import (
    ChainHolder,
    Finished,
    Progressed,
    Report,
    ReportKey,
    Suspended,
)
from spincycle.request_manager.storage.portions import in_portions
from spincycle.request_manager.storage.request_counts import RequestCounts
from spincycle.request_manager.storage.row_values import (
    assignment_columns,
    holders_of,
    interval,
    json_text,
)
from spincycle.request_manager.storage.secret_columns import SecretColumns


class ReportStore:
    """Applies reports of runners, each by a compare-and-set on state, epoch and runner.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database, counts: RequestCounts, columns: SecretColumns) -> None:
        self._database = database
        self._counts = counts
        self._columns = columns

    async def finish(self, reports: Sequence[Finished]) -> tuple[set[ReportKey], bool]:
        """End requests.

        Return the keys of the reports that were applied, and whether a type with a limit has room
        now.
        """
        rows = await self._database.fetch(
            "finish_requests",
            **_columns(reports),
            states=[int(report.state) for report in reports],
            finished_ats=[report.finished_at for report in reports],
            running_times=[interval(report.running_time) for report in reports],
            finished_jobs=[report.finished_jobs for report in reports],
            reasons=[report.reason for report in reports],
        )
        self._counts.ended.update(State(row["state"]) for row in rows)
        return {_key(row) for row in rows}, any(row["limited"] for row in rows)

    async def progress(self, reports: Sequence[Progressed]) -> set[ReportKey]:
        """Update job counts of requests; return the keys of the reports that were applied."""
        rows = await self._database.fetch(
            "progress_requests",
            **_columns(reports),
            finished_jobs=[report.finished_jobs for report in reports],
            rolled_back_jobs=[report.rolled_back_jobs for report in reports],
        )
        return {_key(row) for row in rows}

    async def suspend(
        self, reports: Sequence[Suspended], *, recovered: bool = False
    ) -> dict[ReportKey, State]:
        """Store saved states and take the requests from their runners.

        With `recovered` they are audited as recovered by the installation.

        Return the new state, SUSPENDED or STOPPED, of the requests whose report was applied, by the
        key of the report.
        """
        states: dict[ReportKey, State] = {}
        for portion in in_portions(reports, lambda report: len(report.suspended_job_chain)):
            states |= await self._suspend(portion, recovered=recovered)
        return states

    async def _suspend(
        self, reports: Sequence[Suspended], *, recovered: bool
    ) -> dict[ReportKey, State]:
        states_to_store = [report.suspended_job_chain for report in reports]
        sealed_unders: list[str | None] = [None] * len(reports)
        for place, report in enumerate(reports):
            if report.has_secrets:
                sealed = await self._columns.seal_state(
                    report.request_id, report.suspended_job_chain
                )
                states_to_store[place], sealed_unders[place] = sealed.data, sealed.sealed_under
        rows = await self._database.fetch(
            "suspend_requests",
            **_columns(reports),
            finished_jobs=[report.finished_jobs for report in reports],
            reasons=[report.reason for report in reports],
            suspended_job_chains=states_to_store,
            sealed_unders=sealed_unders,
            job_types=[json_text(sorted(report.job_types)) for report in reports],
            waits=[interval(report.wait) if report.wait else None for report in reports],
            recovered=recovered,
        )
        states = {_key(row): State(row["state"]) for row in rows}
        self._counts.count_stopped(states.values())
        return states

    async def targets(self, request_ids: Sequence[str]) -> dict[str, ChainHolder]:
        """Return states and assignments of the requests that exist, by id."""
        return holders_of(
            await self._database.fetch("chain_holders", request_ids=list(request_ids))
        )


def _columns(reports: Sequence[Report]) -> dict[str, list[str] | list[int]]:
    return assignment_columns(reports) | {"runner_ids": [report.runner_id for report in reports]}


def _key(row: asyncpg.Record) -> ReportKey:
    return row["request_id"], row["epoch"], row["runner_id"]
