"""Whatever a job's code does, its try ends, its place is free again, and nobody else is harmed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Scripted, Stage, turns

from spincycle.job import Job, JobId, Return, State, Value
from spincycle.wire.status import encode_event, encode_status

COMPLETE, FAIL = State.COMPLETE, State.FAIL

Run = Callable[..., Awaitable[Return]]


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


class Lawless(BaseException):
    """Not even an Exception."""


class NoMatter:
    """Cannot be shown, compared or taken for true or false."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment] # as bad as can be


async def raises_without_text(job: Scripted, data: dict[str, Value]) -> Return:
    raise NoText


async def raises_what_is_no_exception(job: Scripted, data: dict[str, Value]) -> Return:
    raise Lawless("out")


async def ends_the_generator(job: Scripted, data: dict[str, Value]) -> Return:
    raise GeneratorExit


async def returns_no_matter(job: Scripted, data: dict[str, Value]) -> Return:
    return NoMatter()  # type: ignore[return-value] # what a job may do


async def returns_an_error_without_text(job: Scripted, data: dict[str, Value]) -> Return:
    return Return(FAIL, error=NoMatter())  # type: ignore[arg-type] # likewise


async def returns_a_state_without_matter(job: Scripted, data: dict[str, Value]) -> Return:
    return Return(NoMatter())  # type: ignore[arg-type] # likewise


async def leaves_no_matter(job: Scripted, data: dict[str, Value]) -> Return:
    data["n"] = NoMatter()  # type: ignore[assignment] # likewise
    return Return(COMPLETE)


async def leaves_data_without_an_order(job: Scripted, data: dict[str, Value]) -> Return:
    class Restless(dict[str, Value]):
        def items(self):  # type: ignore[no-untyped-def,override] # likewise
            raise RuntimeError("dictionary changed size during iteration")

    data["n"] = Restless()
    return Return(COMPLETE)


@pytest.mark.parametrize(
    "play",
    [
        raises_without_text,
        raises_what_is_no_exception,
        ends_the_generator,
        returns_no_matter,
        returns_an_error_without_text,
        returns_a_state_without_matter,
        leaves_no_matter,
        leaves_data_without_an_order,
    ],
)
async def test_a_try_ends_as_failed_whatever_comes_out_of_it(stage: Stage, play: Run) -> None:
    stage.places = 1
    stage.open()
    stage.plays["b"] = [play]

    async with asyncio.timeout(5):
        report = await stage.run(chain("A > b > C"))
        assert report.state is FAIL
        assert stage.journal.errors("b") != [""]
        other = chain("A > d > C", request_id="other")
        assert (await stage.run(other)).state is COMPLETE


class WrongSignature(Job):
    async def run(self) -> Return:  # type: ignore[override] # what an author may write
        return Return(COMPLETE)


class BlockingWrongSignature(Job):
    def run(self) -> Return:  # type: ignore[override] # likewise
        return Return(COMPLETE)


class WontListen(Job):
    async def run(self, data: dict[str, Value]) -> Return:
        return Return(COMPLETE)

    def on_report(self, listener: object) -> None:
        raise RuntimeError("I do not report")


async def test_a_job_that_will_not_be_listened_to_is_run_all_the_same(stage: Stage) -> None:
    stage.jobs.add("odd", lambda job_id: _of(job_id, WontListen()))

    report = await stage.run(chain("A > b > C", jobs={"b": {"type": "odd"}}))

    assert report.state is COMPLETE


@pytest.mark.parametrize("kind", [WrongSignature, BlockingWrongSignature])
async def test_a_job_that_cannot_be_begun_fails_and_its_chain_ends(
    stage: Stage, kind: type[Job]
) -> None:
    stage.jobs.add("odd", lambda job_id: _of(job_id, kind()))
    stage.places = 1
    stage.open()

    async with asyncio.timeout(5):
        odd = chain("A > b > C", jobs={"b": {"type": "odd"}})
        assert (await stage.run(odd)).state is FAIL
        assert stage.journal.log("b") == [("b", 1, FAIL)]
        other = chain("A > d > C", request_id="other")
        assert (await stage.run(other)).state is COMPLETE


@pytest.mark.parametrize(
    "text", ["\ud800", "nul\0", "x" * 10_000_000, 7, None, NoMatter()], ids=lambda value: "text"
)
async def test_whatever_a_job_reports_can_be_told_to_others(stage: Stage, text: str) -> None:
    async def reports(job: Scripted, data: dict[str, Value]) -> Return:
        job.report(text, 50)
        await job.told_to_stop.wait()
        return Return(State.STOPPED)

    stage.plays["b"] = [reports]
    stage.runner.run(chain("A > b > C"), 1)
    await stage.until_begun("b")
    async with asyncio.timeout(5):
        while not any(event.job.percent for event in stage.watcher.events):  # noqa: ASYNC110 - told after a time
            await asyncio.sleep(0.01)

    [running] = stage.runner.running()
    assert encode_status(running).ByteSize() < 10_000
    for event in stage.watcher.events:
        assert encode_event(event).ByteSize() < 10_000
    assert running.percent == 50


@pytest.mark.parametrize("text", ["\ud800", "x" * 10_000_000, NoMatter()], ids=lambda value: "text")
async def test_whatever_a_job_says_of_itself_can_be_told_to_others(stage: Stage, text: str) -> None:
    class Says(Scripted):
        def status(self) -> str:
            return text

    stage.jobs.add("says", lambda job_id: _of(job_id, Says(stage)))
    stage.plays["b"] = [lambda job, data: job.told_to_stop.wait()]  # type: ignore[list-item]
    stage.runner.run(chain("A > b > C", jobs={"b": {"type": "says"}}), 1)
    await stage.until_begun("b")
    await turns()

    [running] = stage.runner.running()
    assert encode_status(running).ByteSize() < 10_000


def _of(job_id: JobId, job: Job) -> Job:
    job.id = job_id
    return job
