"""Jobs that block the event loop: which one is named, and what becomes of timeouts."""

from __future__ import annotations

import asyncio
import queue
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, MutableMapping
from types import FrameType
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Stage, turns
from tests.waiting import until

from spincycle.job import Job, JobId, Return, State
from spincycle.job_runner.blocking_job import find_job
from spincycle.job_runner.ports import CommitListener
from spincycle.model.job_chain import Value
from spincycle.model.journal_entry import JournalEntry
from spincycle.runtime.loop_monitor import Attribution, LoopMonitor

TIMEOUT = 0.1


class Watched:
    """Lets a job block the loop until the monitor has recorded the job."""

    def __init__(self) -> None:
        self._found: queue.Queue[Attribution] = queue.Queue()
        self.monitor = LoopMonitor(self._attribute)

    def _attribute(self, frame: FrameType) -> Attribution | None:
        found = find_job(frame)
        if found is not None:
            self._found.put(found)
        return found

    def block(self, lag: float = 0.0) -> None:
        found = self._found.get(timeout=30)
        while not self.monitor.is_blocked_by(found.key) or self.monitor.lag < lag:
            time.sleep(0.001)


class Blocking(Job):
    """Calls the method that the test gives in its place."""

    def __init__(self, watched: Watched, where: str) -> None:
        self.watched = watched
        self.where = where
        self.stop_requested = asyncio.Event()

    def deserialize(self, data: bytes) -> None:
        self._block_in("deserialize")

    async def run(self, data: dict[str, Value]) -> Return:
        self._block_in("run")
        if self.where == "run, then wait":
            self.watched.block()
            await asyncio.sleep(0.01)
        if self.where == "run, long":
            self.watched.block(lag=1.0)
        if self.where == "callback":
            called = asyncio.Event()

            def call() -> None:
                self.watched.block()
                called.set()

            asyncio.get_running_loop().call_later(0.01, call)
            await called.wait()
        if self.where == "task":
            await asyncio.gather(asyncio.create_task(self._task()))
        if self.where in {"stop", "hand_over", "status"}:
            await self.stop_requested.wait()
            return Return(State.STOPPED)
        return Return(State.COMPLETE)

    async def _task(self) -> None:
        await asyncio.sleep(0)
        self.watched.block()

    def stop(self) -> Awaitable[None] | None:
        self.stop_requested.set()
        self._block_in("stop")
        return None

    def hand_over(self) -> Awaitable[None] | None:
        self.stop_requested.set()
        self._block_in("hand_over")
        return None

    def status(self) -> str:
        self._block_in("status")
        return "running"

    def on_report(self, listener: Any) -> None:
        self._block_in("on_report")
        super().on_report(listener)

    def _block_in(self, method: str) -> None:
        if method == self.where:
            self.watched.block()


class BlockingImmediate(Blocking):
    immediate = True

    def run(self, data: dict[str, Value]) -> Return:  # type: ignore[override] # immediate
        self.watched.block()
        return Return(State.COMPLETE)


@pytest.fixture
def logs() -> Any:
    with capture_logs() as logs:
        yield logs


@pytest.fixture
async def watched(logs: list[MutableMapping[str, Any]]) -> AsyncIterator[Watched]:
    watched = Watched()
    async with watched.monitor:
        yield watched


def add(stage: Stage, watched: Watched, where: str, kind: type[Blocking] = Blocking) -> None:
    def make(job_id: JobId) -> Job:
        job = kind(watched, where)
        job.id = job_id
        return job

    stage.jobs.add("blocking", make)
    stage.is_blocked_by = lambda job: watched.monitor.is_blocked_by(job.id)
    stage.open()


@pytest.mark.parametrize(
    "where",
    ["run", "task", "callback", "immediate", "deserialize", "stop", "hand_over", "status",
     "on_report"],
)  # fmt: skip
async def test_a_job_that_blocks_the_loop_is_named(
    stage: Stage, watched: Watched, logs: list[MutableMapping[str, Any]], where: str
) -> None:
    add(stage, watched, where, BlockingImmediate if where == "immediate" else Blocking)

    stage.runner.run(chain("a", jobs={"a": {"type": "blocking"}}), 1)
    if where in {"stop", "status", "hand_over"}:
        await turns()
        if where == "status":
            stage.runner.running()
        if where == "hand_over":
            await stage.runner.drain(30)
        else:
            stage.runner.stop("request", "")
    await until(lambda: any(each["event"] == "event loop no longer blocked" for each in logs))

    named = [each for each in logs if each["event"] == "event loop blocked"]
    assert [(each["job_type"], each["job_id"], each["request_id"]) for each in named] == [
        ("blocking", "a", "request")
    ]
    assert re.fullmatch(re.escape(__file__) + r":\d+", named[0]["line"]) or where == "deserialize"
    assert "blocking" in {key for (key,) in watched.monitor.lags.read()}


@pytest.mark.parametrize("where", ["run", "run, then wait", "task", "immediate"])
async def test_a_try_that_blocks_the_loop_beyond_its_timeout_fails_whatever_it_returns(
    stage: Stage, watched: Watched, where: str
) -> None:
    add(stage, watched, where, BlockingImmediate if where == "immediate" else Blocking)

    report = await stage.run(chain("a", jobs={"a": {"type": "blocking", "timeout": TIMEOUT}}))

    assert report.state is State.FAIL
    assert stage.journal.errors("a") == ["run timeout: the try took longer than 0.1s"]


async def test_a_try_that_ended_in_time_while_another_job_blocked_the_loop_is_complete(
    stage: Stage, watched: Watched
) -> None:
    add(stage, watched, "run, long")
    threads: list[threading.Thread] = []

    class OnThread(Job):
        def run(self, data: dict[str, Value]) -> Return:
            threads.append(threading.current_thread())
            return Return(State.COMPLETE)

    async def waits_for_a_thread(job: Job, data: dict[str, Value]) -> Return:
        await asyncio.to_thread(threads.append, threading.current_thread())
        await asyncio.sleep(0)
        return Return(State.COMPLETE)

    def make(job_id: JobId) -> Job:
        job = OnThread()
        job.id = job_id
        return job

    stage.jobs.add("thread", make)
    stage.plays["b"] = [waits_for_a_thread]
    report = await stage.run(
        chain(
            "S > a b c > E",
            jobs={
                "a": {"type": "blocking"},
                "b": {"timeout": TIMEOUT},
                "c": {"type": "thread", "timeout": TIMEOUT},
            },
        )
    )

    assert report.state is State.COMPLETE
    assert stage.stopped == []


async def test_what_the_runner_does_when_a_try_ends_is_not_the_jobs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Attribution | None] = []
    append = stage.journal.append

    def observed(entry: JournalEntry, listener: CommitListener) -> None:
        found.append(find_job(sys._getframe()))
        append(entry, listener)

    monkeypatch.setattr(stage.journal, "append", observed)

    await stage.run(chain("a > b"))

    assert found == [None, None]
