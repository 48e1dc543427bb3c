from __future__ import annotations

from tests.waiting import until

from spincycle.chain.commands import FinishReport
from spincycle.job_runner.reporter import Message, OutboxReporter
from spincycle.model.state import State


class Box:
    """Keeps what is put into it."""

    def __init__(self) -> None:
        self.put_in: list[Message] = []

    def put(self, request_id: str, report: Message) -> None:
        self.put_in.append(report)


def _end(request_id: str) -> FinishReport:
    return FinishReport(request_id, 1, State.COMPLETE, 1, finished_jobs=9, rolled_back_jobs=0)


async def test_counts_that_move_quickly_are_told_together_and_the_last_ones_only() -> None:
    box = Box()
    reporter = OutboxReporter(box, interval=0.01)  # type: ignore[arg-type]

    for count in range(1, 6):
        reporter.progress("one", 1, count, 0)
        reporter.progress("two", 1, 2 * count, 0)
    assert not box.put_in

    await until(lambda: box.put_in)
    told = {report.progress.request_id: report.progress.finished_jobs for report in box.put_in}
    assert told == {"one": 5, "two": 10}
    assert len(box.put_in) == 2


async def test_counts_that_move_later_are_told_later() -> None:
    box = Box()
    reporter = OutboxReporter(box, interval=0.01)  # type: ignore[arg-type]
    reporter.progress("one", 1, 1, 0)
    await until(lambda: box.put_in)
    reporter.progress("one", 1, 2, 0)
    await until(lambda: len(box.put_in) == 2)
    assert box.put_in[1].progress.finished_jobs == 2


async def test_an_end_is_told_at_once_and_no_progress_after_it() -> None:
    box = Box()
    reporter = OutboxReporter(box, interval=0.01)  # type: ignore[arg-type]
    reporter.progress("one", 1, 1, 0)
    reporter.finished(_end("one"), running_time=1_500_000_000)
    assert [report.WhichOneof("report") for report in box.put_in] == ["finish"]
    assert box.put_in[0].running_time.ToNanoseconds() == 1_500_000_000

    reporter.progress("two", 1, 1, 0)
    await until(lambda: len(box.put_in) == 2)
    assert box.put_in[1].progress.request_id == "two"
