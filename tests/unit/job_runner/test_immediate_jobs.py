from __future__ import annotations

import asyncio
import threading
from typing import ClassVar

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Stage

from spincycle.job import Job, JobId, Return, State
from spincycle.model.job_chain import Value

IMMEDIATE = {"type": "immediate"}


class Immediate(Job):
    """Raises `error`, if set, or completes."""

    immediate = True
    error: BaseException | None = None
    threads: ClassVar[set[threading.Thread]] = set()

    def run(self, data: dict[str, Value]) -> Return:
        self.threads.add(threading.current_thread())
        if self.error is not None:
            raise self.error
        data["was"] = "here"
        return Return(State.COMPLETE)


@pytest.fixture
def immediate(stage: Stage) -> type[Immediate]:
    class Mine(Immediate):
        threads: ClassVar[set[threading.Thread]] = set()

    def make(job_id: JobId) -> Job:
        job = Mine()
        job.id = job_id
        return job

    stage.jobs.add("immediate", make)
    return Mine


async def test_an_immediate_run_is_called_on_the_event_loop(
    stage: Stage, immediate: type[Immediate]
) -> None:
    report = await stage.run(chain("a > b > c", jobs={"a": IMMEDIATE, "b": IMMEDIATE}))

    assert report.state is State.COMPLETE
    assert immediate.threads == {threading.current_thread()}
    assert stage.given["c"] == [{"was": "here"}]
    assert stage.watcher.states("a") == [State.RUNNING, State.COMPLETE]
    assert stage.runner.jobs == 0


@pytest.mark.parametrize(
    "error", [ValueError("boom"), SystemExit(3), asyncio.CancelledError("boom")], ids=repr
)
async def test_whatever_an_immediate_run_raises_is_a_failed_try(
    stage: Stage, immediate: type[Immediate], error: BaseException
) -> None:
    immediate.error = error

    report = await stage.run(chain("a > b", jobs={"a": IMMEDIATE}))

    assert report.state is State.FAIL
    assert stage.journal.log() == [("a", 1, State.FAIL)]
    assert type(error).__name__ in stage.journal.errors("a")[0]
    assert stage.runner.jobs == 0


async def test_an_immediate_job_does_not_start_before_its_parents_are_committed(
    stage: Stage, immediate: type[Immediate]
) -> None:
    stage.journal.disconnected = True
    stage.runner.run(chain("a > b", jobs={"a": IMMEDIATE, "b": IMMEDIATE}), 1)
    assert stage.journal.log() == [("a", 1, State.COMPLETE)]

    stage.journal.reconnect()

    assert (await stage.reports.end()).state is State.COMPLETE
    assert [job_id for job_id, _, _ in stage.journal.log()] == ["a", "b"]
