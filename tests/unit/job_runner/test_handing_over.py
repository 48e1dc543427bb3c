from __future__ import annotations

import asyncio

from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Stage, returns, turns, works_until_stopped

from spincycle.job import Job, JobId, Return, State, Value


class Leaves(Job):
    """Leaves its work elsewhere running if it may."""

    def __init__(self, job_id: JobId, told: list[str]) -> None:
        self.id = job_id
        self._told = told
        self._ends = asyncio.Event()

    async def run(self, data: dict[str, Value]) -> Return:
        self._told.append("run")
        await self._ends.wait()
        return Return(State.STOPPED)

    async def stop(self) -> None:
        self._told.append("stop")
        self._ends.set()

    async def hand_over(self) -> None:
        self._told.append("hand over")
        self._ends.set()


CHAIN = chain("A > b > C", jobs={"b": {"type": "leaves"}})


async def told(stage: Stage) -> list[str]:
    """What the only job of a chain that runs is told from now on."""
    said: list[str] = []
    stage.jobs.add("leaves", lambda job_id: Leaves(job_id, said))
    stage.runner.run(CHAIN, 1)
    await turns()
    assert said == ["run"]
    return said


async def test_a_job_is_handed_over_when_its_runner_drains(stage: Stage) -> None:
    said = await told(stage)

    assert await stage.runner.drain(60) == []

    assert said == ["run", "hand over"]
    assert (await stage.reports.save()).job_chain.jobs["b"].state is State.STOPPED


async def test_a_job_is_handed_over_when_its_runner_was_given_up(stage: Stage) -> None:
    said = await told(stage)
    stage.runner.abandon_all()
    await turns()

    assert said == ["run", "hand over"]


async def test_a_job_is_stopped_when_its_request_is_suspended(stage: Stage) -> None:
    said = await told(stage)
    stage.runner.suspend("request")
    await stage.reports.save()

    assert said == ["run", "stop"]


async def test_a_job_is_stopped_when_its_request_is_stopped(stage: Stage) -> None:
    said = await told(stage)
    stage.runner.stop("request", "enough")
    await stage.reports.end()

    assert said == ["run", "stop"]


async def test_a_job_is_handed_over_to_the_chain_that_takes_the_place_of_its_own(
    stage: Stage,
) -> None:
    said = await told(stage)
    stage.runner.run(CHAIN, 2)
    await turns()

    assert said == ["run", "hand over", "run"]


async def test_a_job_that_cannot_be_handed_over_is_stopped(stage: Stage) -> None:
    stage.plays["b"] = [works_until_stopped, returns(State.COMPLETE)]
    stage.runner.run(chain("A > b > C"), 1)
    await stage.until_begun("b")

    assert await stage.runner.drain(60) == []

    assert stage.stopped == ["b"]
