"""Whatever a job's code does, its try ends, its slot is released, and other chains continue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Never, cast

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Scripted, Stage, turns

from spincycle.job import Job, JobId, Return, State, Value
from spincycle.wire.status import encode_event, encode_status

COMPLETE, FAIL = State.COMPLETE, State.FAIL

Run = Callable[..., Awaitable[Return]]


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NotAnException(BaseException):
    """Not a subclass of Exception."""


class Opaque:
    """Raises when it is printed, compared or tested for truth."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment] # on purpose


async def raises_without_text(job: Scripted, data: dict[str, Value]) -> Return:
    raise Unprintable


async def raises_a_base_exception(job: Scripted, data: dict[str, Value]) -> Return:
    raise NotAnException("out")


async def raises_generator_exit(job: Scripted, data: dict[str, Value]) -> Return:
    raise GeneratorExit


async def returns_an_opaque_value(job: Scripted, data: dict[str, Value]) -> Return:
    return Opaque()  # type: ignore[return-value] # what a job may do


async def returns_an_error_without_text(job: Scripted, data: dict[str, Value]) -> Return:
    return Return(FAIL, error=Opaque())  # type: ignore[arg-type] # likewise


async def returns_an_opaque_state(job: Scripted, data: dict[str, Value]) -> Return:
    return Return(Opaque())  # type: ignore[arg-type] # likewise


async def leaves_an_opaque_value(job: Scripted, data: dict[str, Value]) -> Return:
    data["n"] = Opaque()  # type: ignore[assignment] # likewise
    return Return(COMPLETE)


async def leaves_data_that_raises(job: Scripted, data: dict[str, Value]) -> Return:
    class Broken(dict[str, Value]):
        def items(self) -> Never:
            raise RuntimeError("dictionary changed size during iteration")

    data["n"] = Broken()
    return Return(COMPLETE)


@pytest.mark.parametrize(
    "play",
    [
        raises_without_text,
        raises_a_base_exception,
        raises_generator_exit,
        returns_an_opaque_value,
        returns_an_error_without_text,
        returns_an_opaque_state,
        leaves_an_opaque_value,
        leaves_data_that_raises,
    ],
)
async def test_a_try_fails_whatever_invalid_value_it_returns_or_raises(
    stage: Stage, play: Run
) -> None:
    stage.job_slots = 1
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


class Unreportable(Job):
    async def run(self, data: dict[str, Value]) -> Return:
        return Return(COMPLETE)

    def on_report(self, listener: object) -> None:
        raise RuntimeError("no reports")


async def test_a_job_that_rejects_the_report_listener_runs_all_the_same(stage: Stage) -> None:
    stage.jobs.add("odd", lambda job_id: _with_id(job_id, Unreportable()))

    report = await stage.run(chain("A > b > C", jobs={"b": {"type": "odd"}}))

    assert report.state is COMPLETE


@pytest.mark.parametrize("kind", [WrongSignature, BlockingWrongSignature])
async def test_a_job_that_cannot_be_started_fails_and_its_chain_ends(
    stage: Stage, kind: type[Job]
) -> None:
    stage.jobs.add("odd", lambda job_id: _with_id(job_id, kind()))
    stage.job_slots = 1
    stage.open()

    async with asyncio.timeout(5):
        odd = chain("A > b > C", jobs={"b": {"type": "odd"}})
        assert (await stage.run(odd)).state is FAIL
        assert stage.journal.log("b") == [("b", 1, FAIL)]
        other = chain("A > d > C", request_id="other")
        assert (await stage.run(other)).state is COMPLETE


@pytest.mark.parametrize(
    "text", ["\ud800", "nul\0", "x" * 10_000_000, 7, None, Opaque()], ids=lambda value: "text"
)
async def test_every_report_of_a_job_can_be_encoded(stage: Stage, text: str) -> None:
    async def reports(job: Scripted, data: dict[str, Value]) -> Return:
        job.report(text, 50)
        await job.stop_requested.wait()
        return Return(State.STOPPED)

    stage.plays["b"] = [reports]
    stage.runner.run(chain("A > b > C"), 1)
    await stage.until_started("b")
    async with asyncio.timeout(5):
        while not any(event.job.percent for event in stage.watcher.events):  # noqa: ASYNC110 - published after an interval
            await asyncio.sleep(0.01)

    [running] = stage.runner.running()
    assert encode_status(running).ByteSize() < 10_000
    for event in stage.watcher.events:
        assert encode_event(event).ByteSize() < 10_000
    assert running.percent == 50


@pytest.mark.parametrize("text", ["\ud800", "x" * 10_000_000, Opaque()], ids=lambda value: "text")
async def test_every_status_of_a_job_can_be_encoded(stage: Stage, text: str) -> None:
    class WithStatus(Scripted):
        def status(self) -> str:
            return text

    stage.jobs.add("says", lambda job_id: _with_id(job_id, WithStatus(stage)))
    waits = cast("Any", lambda job, data: job.stop_requested.wait())
    stage.plays["b"] = [waits]
    stage.runner.run(chain("A > b > C", jobs={"b": {"type": "says"}}), 1)
    await stage.until_started("b")
    await turns()

    [running] = stage.runner.running()
    assert encode_status(running).ByteSize() < 10_000


def _with_id(job_id: JobId, job: Job) -> Job:
    job.id = job_id
    return job
