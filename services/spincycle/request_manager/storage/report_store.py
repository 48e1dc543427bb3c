"""Reports of runners about their requests, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from spincycle.database.database import Database
from spincycle.model.state import State
from spincycle.request_manager.storage.model import Finished, Progressed, Suspended
from spincycle.request_manager.storage.portions import in_portions
from spincycle.request_manager.storage.request_counts import RequestCounts
from spincycle.request_manager.storage.row_values import (
    assignment_columns,
    interval,
    json_text,
    states_of,
)


class ReportStore:
    """Applies reports of runners, each by a compare-and-set on state and epoch.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database, counts: RequestCounts) -> None:
        self._database = database
        self._counts = counts

    async def finish(self, reports: Sequence[Finished]) -> tuple[set[str], bool]:
        """End requests.

        Return the ids of those that were ended, and whether a type with a limit has room now.
        """
        rows = await self._database.fetch(
            "finish_requests",
            **assignment_columns(reports),
            states=[int(report.state) for report in reports],
            finished_ats=[report.finished_at for report in reports],
            running_times=[interval(report.running_time) for report in reports],
            finished_jobs=[report.finished_jobs for report in reports],
            reasons=[report.reason for report in reports],
        )
        states = {report.request_id: report.state for report in reports}
        self._counts.ended.update(states[row["request_id"]] for row in rows)
        return {row["request_id"] for row in rows}, any(row["limited"] for row in rows)

    async def progress(self, reports: Sequence[Progressed]) -> set[str]:
        """Update job counts of requests; return the ids of those that were updated."""
        rows = await self._database.fetch(
            "progress_requests",
            **assignment_columns(reports),
            finished_jobs=[report.finished_jobs for report in reports],
            rolled_back_jobs=[report.rolled_back_jobs for report in reports],
        )
        return {row["request_id"] for row in rows}

    async def suspend(self, reports: Sequence[Suspended]) -> dict[str, State]:
        """Store saved states and take the requests from their runners.

        Return the new state, SUSPENDED or STOPPED, of those whose report was applied.
        """
        states: dict[str, State] = {}
        for portion in in_portions(reports, lambda report: len(report.suspended_job_chain)):
            states |= await self._suspend(portion)
        return states

    async def _suspend(self, reports: Sequence[Suspended]) -> dict[str, State]:
        rows = await self._database.fetch(
            "suspend_requests",
            **assignment_columns(reports),
            finished_jobs=[report.finished_jobs for report in reports],
            reasons=[report.reason for report in reports],
            suspended_job_chains=[report.suspended_job_chain for report in reports],
            job_types=[json_text(sorted(report.job_types)) for report in reports],
            waits=[interval(report.wait) if report.wait else None for report in reports],
        )
        states = states_of(rows)
        self._counts.count_stopped(states.values())
        return states

    async def states(self, request_ids: Sequence[str]) -> dict[str, tuple[State, int]]:
        """Return (state, epoch) of the requests that exist, by id."""
        rows = await self._database.fetch("states_of_requests", request_ids=list(request_ids))
        return {row["request_id"]: (State(row["state"]), row["epoch"]) for row in rows}
