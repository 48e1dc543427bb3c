"""Reports of different runners on one request, in one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from spincycle.errors import NotYours
from spincycle.model.state import State
from spincycle.request_manager.runners.dispatcher import Dispatcher
from spincycle.request_manager.runners.reports import Reports
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.model import (
    ChainHolder,
    Finished,
    Progressed,
    Report,
    ReportKey,
    Suspended,
    report_key,
)
from spincycle.request_manager.storage.report_store import ReportStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)

REPORTS: dict[str, Any] = {
    "finish": lambda runner_id: Finished("r1", 1, State.COMPLETE, NOW, 3, runner_id=runner_id),
    "progress": lambda runner_id: Progressed("r1", 1, 3, runner_id=runner_id),
    "suspend": lambda runner_id: Suspended("r1", 1, 3, "", b"saved", runner_id=runner_id),
}
"""Makes a report of a runner, by kind."""


class Store:
    """Stores the reports of the runner "own", to which the only request stays assigned."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def _apply(self, reports: Sequence[Report]) -> set[ReportKey]:
        self.batches.append([report.runner_id for report in reports])
        return {report_key(report) for report in reports if report.runner_id == "own"}

    async def finish(self, reports: Sequence[Finished]) -> tuple[set[ReportKey], bool]:
        return self._apply(reports), False

    async def progress(self, reports: Sequence[Progressed]) -> set[ReportKey]:
        return self._apply(reports)

    async def suspend(self, reports: Sequence[Suspended]) -> dict[ReportKey, State]:
        return dict.fromkeys(self._apply(reports), State.SUSPENDED)

    async def targets(self, request_ids: Sequence[str]) -> dict[str, ChainHolder]:
        return {"r1": ChainHolder("r1", 1, State.RUNNING, "own", orphaned=False)}


class Archives:
    async def job_chain(self, request_id: str) -> bytes:
        return b"chain"


class NoDispatcher:
    def wake(self) -> None:
        pass


@pytest.mark.parametrize("kind", REPORTS)
@pytest.mark.parametrize("order", [["own", "foreign"], ["foreign", "own"]], ids="-".join)
async def test_a_report_of_another_runner_neither_replaces_a_report_nor_is_accepted_with_it(
    kind: str, order: list[str]
) -> None:
    store = Store()
    reports = Reports(
        cast("ReportStore", store),
        cast("ArchiveStore", Archives()),
        ChangeBus(),
        cast("Dispatcher", NoDispatcher()),
        adopt=lambda _, saved: (saved, False),
    )

    made = [REPORTS[kind](runner_id) for runner_id in order]
    outcomes = await asyncio.gather(*map(reports.store, made), return_exceptions=True)

    assert store.batches == [order]
    by_runner = dict(zip(order, outcomes, strict=True))
    assert by_runner["own"] is None
    assert isinstance(by_runner["foreign"], NotYours)
