from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Stage, turns

from spincycle.job import Job, JobId, Return, State
from spincycle.job_runner.try_environment import StopPolicy
from spincycle.model.job_chain import Value

BLOCKING = {"type": "blocking"}


class Blocking(Job):
    """Blocks its thread until it is released or stopped."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def run(self, data: dict[str, Value]) -> Return:
        self.gate.threads.add(threading.current_thread().name)
        data["on"] = "a thread"
        self.gate.started.release()
        self.gate.released.wait(60)
        if self.gate.error:
            raise self.gate.error
        return Return(State.STOPPED if self.gate.stopped else State.COMPLETE)

    def stop(self) -> None:
        if not self.gate.ignores_stop:
            self.gate.stopped = True
            self.gate.released.set()


class Gate:
    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.released = threading.Event()
        self.stopped = False
        self.ignores_stop = False
        self.error: Exception | None = None
        self.threads: set[str] = set()


@pytest.fixture
def gate(stage: Stage) -> Callable[[], Gate]:
    """Register the blocking job; calling the fixture returns the gate that all of them share."""
    shared = Gate()

    def make(job_id: JobId) -> Job:
        job = Blocking(shared)
        job.id = job_id
        return job

    stage.jobs.add("blocking", make)
    return lambda: shared


async def until_blocked(gate: Gate) -> None:
    while not gate.started.acquire(blocking=False):
        await turns(1)


async def test_a_plain_run_is_called_on_a_thread(stage: Stage, gate: Callable[[], Gate]) -> None:
    gate().released.set()

    report = await stage.run(chain("a > b", jobs={"a": BLOCKING}))

    assert report.state is State.COMPLETE
    assert gate().threads == {"spincycle-job"}
    assert stage.given["b"] == [{"on": "a thread"}]


async def test_an_error_on_a_thread_is_a_failed_try(stage: Stage, gate: Callable[[], Gate]) -> None:
    gate().released.set()
    gate().error = ValueError("boom")

    report = await stage.run(chain("a", jobs={"a": BLOCKING}))

    assert report.state is State.FAIL
    assert stage.journal.errors("a") == ["panic from job.Run: ValueError: boom"]


async def test_a_job_on_a_thread_is_stopped_from_another(
    stage: Stage, gate: Callable[[], Gate]
) -> None:
    stage.runner.run(chain("a", jobs={"a": BLOCKING}), 1)
    await until_blocked(gate())

    stage.runner.stop("request", "")

    assert (await stage.reports.end()).state is State.STOPPED


async def test_a_hanging_thread_is_abandoned_and_keeps_its_slot(
    stage: Stage, gate: Callable[[], Gate]
) -> None:
    stage.policy = StopPolicy(grace=0.01, cancel_grace=60)
    stage.open()
    gate().ignores_stop = True
    stage.runner.run(chain("a", jobs={"a": BLOCKING}), 1)
    await until_blocked(gate())

    stage.runner.stop("request", "")

    assert (await stage.reports.end()).state is State.FAIL
    assert stage.environment.threads.in_use == 1
    assert stage.runner.jobs == 0
    gate().released.set()
    while stage.environment.threads.in_use:
        await turns(1)
    assert len(stage.journal.entries) == 1


async def test_blocking_jobs_wait_for_a_thread_and_can_be_stopped_there(
    stage: Stage, gate: Callable[[], Gate]
) -> None:
    stage.threads = 1
    stage.open()
    stage.runner.run(chain("A > a b > C", jobs={"a": BLOCKING, "b": BLOCKING}), 1)
    await until_blocked(gate())
    waiting = [job for job in stage.runner.running() if job.state is State.PENDING]
    assert [job.job_id for job in waiting] == ["b"]

    stage.runner.stop("request", "")

    assert (await stage.reports.end()).state is State.STOPPED
    assert stage.journal.log("b") == []
    assert stage.journal.log("a") == [("a", 1, State.STOPPED)]
