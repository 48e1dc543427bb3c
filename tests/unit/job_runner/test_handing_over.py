from __future__ import annotations

import asyncio

from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Stage, returns, turns, works_until_stopped

from spincycle.job import Job, JobId, Return, State, Value


class Leaves(Job):
    """Hands its work over if possible."""

    def __init__(self, job_id: JobId, calls: list[str]) -> None:
        self.id = job_id
        self._calls = calls
        self._ends = asyncio.Event()

    async def run(self, data: dict[str, Value]) -> Return:
        self._calls.append("run")
        await self._ends.wait()
        return Return(State.STOPPED)

    async def stop(self) -> None:
        self._calls.append("stop")
        self._ends.set()

    async def hand_over(self) -> None:
        self._calls.append("hand over")
        self._ends.set()


CHAIN = chain("A > b > C", jobs={"b": {"type": "leaves"}})


async def running_job_calls(stage: Stage) -> list[str]:
    """Start the chain; return the list of calls that its job receives."""
    calls: list[str] = []
    stage.jobs.add("leaves", lambda job_id: Leaves(job_id, calls))
    stage.runner.run(CHAIN, 1)
    await turns()
    assert calls == ["run"]
    return calls


async def test_a_job_is_handed_over_when_its_runner_drains(stage: Stage) -> None:
    calls = await running_job_calls(stage)

    assert await stage.runner.drain(60) == []

    assert calls == ["run", "hand over"]
    assert (await stage.reports.save()).job_chain.jobs["b"].state is State.STOPPED


async def test_a_job_is_handed_over_when_its_runner_was_evicted(stage: Stage) -> None:
    calls = await running_job_calls(stage)
    stage.runner.abandon_all()
    await turns()

    assert calls == ["run", "hand over"]


async def test_a_job_is_stopped_when_its_request_is_suspended(stage: Stage) -> None:
    calls = await running_job_calls(stage)
    stage.runner.suspend("request")
    await stage.reports.save()

    assert calls == ["run", "stop"]


async def test_a_job_is_stopped_when_its_request_is_stopped(stage: Stage) -> None:
    calls = await running_job_calls(stage)
    stage.runner.stop("request", "enough")
    await stage.reports.end()

    assert calls == ["run", "stop"]


async def test_a_job_is_handed_over_to_the_chain_that_replaces_its_own(
    stage: Stage,
) -> None:
    calls = await running_job_calls(stage)
    stage.runner.run(CHAIN, 2)
    await turns()

    assert calls == ["run", "hand over", "run"]


async def test_a_job_that_cannot_be_handed_over_is_stopped(stage: Stage) -> None:
    stage.plays["b"] = [works_until_stopped, returns(State.COMPLETE)]
    stage.runner.run(chain("A > b > C"), 1)
    await stage.until_started("b")

    assert await stage.runner.drain(60) == []

    assert stage.stopped == ["b"]
