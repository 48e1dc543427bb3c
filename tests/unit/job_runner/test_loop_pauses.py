"""The largest chains do not block a runner's event loop.

A pause is the CPU time of the loop's thread between two turns, so that the load of the machine
does not matter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, cast

import pytest
from tests.measured_loop import collecting_as_in_a_process, longest_pause
from tests.unit.job_runner.stage import (
    Play,
    RecordingReporter,
    Stage,
    fails,
    turns,
    works_until_stopped,
)
from tests.waiting import until

from spincycle.internal.v1 import job_runner_service_pb2 as rpc
from spincycle.job_runner.event_log import EventLog
from spincycle.job_runner.service import JobRunnerService, encode_runner_event
from spincycle.model.job_chain import ChainJob, JobChain, SuspendedJobChain, Value
from spincycle.model.state import State
from spincycle.wire.chain import encode_chain, encode_suspended_chain
from spincycle.wire.chain_parts import WHOLE_UP_TO, cut_chain

pytestmark = pytest.mark.timed

JOBS = 50_000


@pytest.fixture(autouse=True)
def garbage_as_in_the_process() -> Iterator[None]:
    with collecting_as_in_a_process():
        yield


class Pauses:
    longest = 0.0
    count = 0

    async def lap(self) -> float:
        """Return the longest pause since the last call, including the current one."""
        counted = self.count
        await until(lambda: self.count > counted + 1)
        longest, self.longest = self.longest, 0.0
        return longest


@asynccontextmanager
async def measured() -> AsyncIterator[Pauses]:
    pauses = Pauses()

    async def measure() -> None:
        while True:
            started = time.thread_time()
            await asyncio.sleep(0.001)
            pauses.longest = max(pauses.longest, time.thread_time() - started)
            pauses.count += 1

    measuring = asyncio.create_task(measure())
    await asyncio.sleep(0)
    yield pauses
    measuring.cancel()


def chain_of(work: dict[str, dict[str, Value]]) -> JobChain:
    """Return a chain of jobs with these arguments, one after another."""
    jobs = {"b": ChainJob(id="b", name="b", type="noop", structural=True, sequence_id="b")}
    for job_id, args in work.items():
        jobs[job_id] = ChainJob(id=job_id, name="one", type="noop", sequence_id="b", args=args)
    jobs["e"] = ChainJob(id="e", name="e", type="noop", structural=True, sequence_id="b")
    return JobChain("large", jobs, {one: [following] for one, following in pairwise(jobs)})


def values() -> JobChain:
    flags: Value = [True] * 250_000
    return chain_of({f"j{n}": {"flags": flags} for n in range(6)})


def many_jobs() -> JobChain:
    return chain_of({f"j{n}": {"host": "h"} for n in range(JOBS)})


@pytest.mark.parametrize("make", [values, many_jobs])
@pytest.mark.parametrize("call", ["run", "resume", "upload"])
async def test_the_largest_chains_do_not_block_the_event_loop(
    stage: Stage, make: Any, call: str
) -> None:
    service = JobRunnerService(stage.runner, EventLog(encode_runner_event), lambda: "", "address")
    context = cast("Any", None)
    chain = make()
    if call == "resume":
        resumed = encode_suspended_chain(SuspendedJobChain("large", chain, epoch=1))
        assert resumed.ByteSize() < WHOLE_UP_TO
        resume = rpc.ResumeChainsRequest(suspended_job_chains=[resumed])
    else:
        message = encode_chain(chain)
        assert message.ByteSize() < WHOLE_UP_TO
        run = rpc.RunChainsRequest(assignments=[rpc.Assignment(job_chain=message, epoch=1)])
        uploads = [
            rpc.UploadChainRequest(job_chain=part, epoch=1)
            for part in cut_chain(message.SerializeToString())
        ]

    async def parts() -> AsyncIterator[rpc.UploadChainRequest]:
        for upload in uploads:
            yield upload

    async with measured() as pauses:
        if call == "run":
            response: Any = await service.RunChains(run, context)
        elif call == "resume":
            response = await service.ResumeChains(resume, context)
        else:
            response = await service.UploadChain(parts(), context)
        longest = await pauses.lap()

    assert not getattr(response, "refusals", [])
    assert longest <= longest_pause()
    stage.runner.stop("large", "")


class EncodingReporter(RecordingReporter):
    """Encodes saved states, as for the request manager."""

    def suspended(self, suspended: SuspendedJobChain) -> Callable[[], None]:
        encode_suspended_chain(suspended)
        return super().suspended(suspended)


class AllPlay(dict[str, list[Play]]):
    """The same play for all jobs except `others`."""

    def __init__(self, play: Play | None, **others: Play) -> None:
        super().__init__({job_id: [other] for job_id, other in others.items()})
        self._play = play

    def get(self, job_id: str, default: Any = None) -> Any:
        return super().get(job_id, [self._play] if self._play else default)


def fan_out(retry: int = 0) -> JobChain:
    """Return a chain whose jobs can all start once the first one is complete."""
    jobs = {
        "b": ChainJob(
            id="b", name="b", type="noop", structural=True, sequence_id="b", sequence_retry=retry
        )
    }
    middle = [f"j{number}" for number in range(JOBS)]
    for job_id in middle:
        jobs[job_id] = ChainJob(id=job_id, name="one", type="test", sequence_id="b")
    jobs["e"] = ChainJob(id="e", name="e", type="noop", structural=True, sequence_id="b")
    return JobChain("large", jobs, {"b": middle} | {job_id: ["e"] for job_id in middle})


def watched_service(stage: Stage, job_slots: int | None) -> JobRunnerService:
    """Return the service of a runner whose events are read and whose reports are encoded."""
    event_log = EventLog(encode_runner_event)
    event_log.enabled = True
    stage.watcher = cast("Any", event_log)
    stage.reports = EncodingReporter()
    stage.job_slots = job_slots
    stage.open()
    return JobRunnerService(stage.runner, event_log, lambda: "", "address")


@pytest.mark.parametrize("end", ["stop", "suspend", "abandon"])
async def test_many_jobs_at_once_do_not_block_the_event_loop(stage: Stage, end: str) -> None:
    service = watched_service(stage, job_slots=2000)
    stage.plays = AllPlay(works_until_stopped)
    chain = fan_out()
    state = stage.runner.prepare(chain, 1)
    longest: dict[str, float] = {}
    known = rpc.KnownChain(request_id="large")
    async with measured() as pauses:
        await pauses.lap()
        stage.runner.run(chain, 1, state)
        await until(lambda: stage.runner.jobs == stage.job_slots)
        longest["start"] = await pauses.lap()
        request = rpc.DescribeChainsRequest(chains=[known])
        described = await service.DescribeChains(request, cast("Any", None))
        longest["describe"] = await pauses.lap()
        if end == "stop":
            stage.runner.stop("large", "enough")
        elif end == "suspend":
            stage.runner.suspend("large")
        else:
            stage.runner.abandon("large", 1)
        await until(lambda: not stage.runner.chains)
        longest["end"] = await pauses.lap()

    assert len(described.chains[0].jobs) == JOBS + 1
    limit = longest_pause()
    assert {what: pause for what, pause in longest.items() if pause > limit} == {}
    assert len(stage.reports.ends) == (end == "stop")
    assert len(stage.reports.saved) == (end == "suspend")


async def test_a_large_sequence_that_is_retried_does_not_block_the_event_loop(stage: Stage) -> None:
    watched_service(stage, job_slots=2000)
    stage.watcher.enabled = False
    stage.plays = AllPlay(None, j40000=fails())
    chain = fan_out(retry=1)
    state = stage.runner.prepare(chain, 1)
    async with measured() as pauses:
        await pauses.lap()
        stage.runner.run(chain, 1, state)
        report = await stage.reports.end("large")
        longest = await pauses.lap()

    assert report.state is State.FAIL
    assert stage.runs.count("j40000") == 2
    assert longest <= longest_pause()


@pytest.mark.parametrize("turns_before", range(0, 160, 40))
async def test_a_chain_that_is_stopped_while_it_starts_starts_no_further_job(
    stage: Stage, turns_before: int
) -> None:
    stage.plays = AllPlay(works_until_stopped)
    chain = fan_out()
    stage.runner.run(chain, 1, stage.runner.prepare(chain, 1))
    await turns(turns_before)
    stage.runner.stop("large", "enough")
    started = stage.runner.jobs
    report = await stage.reports.end("large")

    assert report.state is State.STOPPED
    assert len(stage.runs) <= started
    assert stage.runner.jobs == 0


async def test_entries_of_ended_jobs_are_appended_when_a_starting_chain_is_abandoned(
    stage: Stage,
) -> None:
    chain = fan_out()
    stage.runner.run(chain, 1, stage.runner.prepare(chain, 1))
    await stage.until_started("j0")
    # Each of these jobs ended in the turn in which it started.
    ended = set(stage.runs)
    stage.runner.abandon("large", 1)
    await until(lambda: not stage.runner.chains)

    appended = {entry.job_id for entry in stage.journal.entries if entry.state is State.COMPLETE}
    assert ended <= appended
    assert len(stage.runs) < JOBS // 10
