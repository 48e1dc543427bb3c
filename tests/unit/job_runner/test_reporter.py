from __future__ import annotations

from typing import cast

from tests.waiting import until

from spincycle.chain.commands import FinishReport
from spincycle.job_runner.outbox import Outbox
from spincycle.job_runner.reporter import Message, OutboxReporter
from spincycle.model.state import State


class FakeOutbox:
    """Records the reports."""

    def __init__(self) -> None:
        self.reports: list[Message] = []

    def put(self, request_id: str, report: Message) -> None:
        self.reports.append(report)


def _end(request_id: str) -> FinishReport:
    return FinishReport(request_id, 1, State.COMPLETE, 1, finished_jobs=9, rolled_back_jobs=0)


async def test_counts_that_change_quickly_are_reported_together_and_only_the_last() -> None:
    outbox = FakeOutbox()
    reporter = OutboxReporter(cast("Outbox", outbox), interval=0.01)

    for count in range(1, 6):
        reporter.progress("one", 1, count, 0)
        reporter.progress("two", 1, 2 * count, 0)
    assert not outbox.reports

    await until(lambda: outbox.reports)
    finished_jobs = {
        report.progress.request_id: report.progress.finished_jobs for report in outbox.reports
    }
    assert finished_jobs == {"one": 5, "two": 10}
    assert len(outbox.reports) == 2


async def test_counts_that_change_later_are_reported_later() -> None:
    outbox = FakeOutbox()
    reporter = OutboxReporter(cast("Outbox", outbox), interval=0.01)
    reporter.progress("one", 1, 1, 0)
    await until(lambda: outbox.reports)
    reporter.progress("one", 1, 2, 0)
    await until(lambda: len(outbox.reports) == 2)
    assert outbox.reports[1].progress.finished_jobs == 2


async def test_an_end_is_reported_immediately_and_no_progress_after_it() -> None:
    outbox = FakeOutbox()
    reporter = OutboxReporter(cast("Outbox", outbox), interval=0.01)
    reporter.progress("one", 1, 1, 0)
    reporter.finished(_end("one"), running_time=1_500_000_000)
    assert [report.WhichOneof("report") for report in outbox.reports] == ["finish"]
    assert outbox.reports[0].running_time.ToNanoseconds() == 1_500_000_000

    reporter.progress("two", 1, 1, 0)
    await until(lambda: len(outbox.reports) == 2)
    assert outbox.reports[1].progress.request_id == "two"
