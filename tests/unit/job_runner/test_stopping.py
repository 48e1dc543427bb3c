from __future__ import annotations

import asyncio

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import (
    Scripted,
    Stage,
    fails,
    ignores_stop,
    returns,
    turns,
    works_until_stopped,
)

from spincycle.job import Return, State
from spincycle.job_runner.try_environment import StopPolicy
from spincycle.model.job_chain import Value

COMPLETE, FAIL, STOPPED = State.COMPLETE, State.FAIL, State.STOPPED


async def test_a_stop_stops_the_running_jobs_and_starts_no_other(stage: Stage) -> None:
    stage.plays |= {"b": [works_until_stopped], "c": [works_until_stopped]}
    stage.runner.run(chain("a > b c > d"), 1)
    await stage.until_started("b", "c")

    assert stage.runner.stop("request", "stopped by dana")

    report = await stage.reports.end()
    assert (report.state, report.reason) == (STOPPED, "stopped by dana")
    assert stage.journal.log("b") == [("b", 1, STOPPED)]
    assert "d" not in stage.runs


async def test_a_failure_after_a_stop_counts_as_stopped(stage: Stage) -> None:
    async def fails_when_stopped(job: Scripted, data: dict[str, Value]) -> Return:
        await job.stop_requested.wait()
        return Return(FAIL, error="interrupted")

    stage.plays["a"] = [fails_when_stopped]
    stage.runner.run(chain("a > b", jobs={"a": {"retry": 3, "retry_wait": "1h"}}), 1)
    await stage.until_started("a")

    stage.runner.stop("request", "")

    assert (await stage.reports.end()).state is STOPPED
    assert stage.journal.log() == [("a", 1, STOPPED)]


async def test_a_job_may_return_do_not_resume_after_a_stop(stage: Stage) -> None:
    async def refuses(job: Scripted, data: dict[str, Value]) -> Return:
        await job.stop_requested.wait()
        return Return(FAIL, error="half written", do_not_resume=True)

    stage.plays["a"] = [refuses]
    stage.runner.run(chain("a > b", jobs={"a": {"retry": 3}}), 1)
    await stage.until_started("a")

    stage.runner.stop("request", "")

    assert (await stage.reports.end()).state is FAIL
    assert stage.journal.errors("a") == ["do not resume: half written"]


async def test_what_completes_although_it_is_stopped_is_complete(stage: Stage) -> None:
    async def completes(job: Scripted, data: dict[str, Value]) -> Return:
        await job.stop_requested.wait()
        return Return(COMPLETE)

    stage.plays["b"] = [completes]
    stage.runner.run(chain("a > b"), 1)
    await stage.until_started("b")

    stage.runner.stop("request", "too late")

    report = await stage.reports.end()
    assert (report.state, report.reason) == (COMPLETE, "")


async def test_a_stop_keeps_what_has_failed(stage: Stage) -> None:
    stage.plays |= {"b": [fails()], "c": [works_until_stopped]}
    stage.runner.run(chain("a > b c > d"), 1)
    await stage.until_started("c")
    await turns()

    stage.runner.stop("request", "")

    assert (await stage.reports.end()).state is FAIL
    assert stage.journal.log("b") == [("b", 1, FAIL)]


@pytest.mark.parametrize(
    "waiting",
    [{"retry": 1, "retry_wait": "1h"}, {"sequence_retry": 1, "sequence_retry_wait": "1h"}],
    ids=["of a job", "of a sequence"],
)
async def test_a_stop_during_a_retry_wait_ends_the_request(
    stage: Stage, waiting: dict[str, object]
) -> None:
    stage.plays["a"] = [fails()]
    stage.runner.run(chain("a > b", jobs={"a": waiting}), 1)
    await turns()
    (status,) = stage.runner.running(frozenset({"request"}))
    assert status.retry_at > 0

    stage.runner.stop("request", "")

    assert (await stage.reports.end()).state is STOPPED
    assert stage.journal.log() == [("a", 1, FAIL)]


async def test_a_stop_between_two_jobs_ends_the_request(stage: Stage) -> None:
    stage.journal.disconnected = True
    stage.runner.run(chain("a > b"), 1)
    await turns()
    assert stage.journal.log() == [("a", 1, COMPLETE)]

    stage.runner.stop("request", "")
    await turns()
    assert not stage.reports.ends
    stage.journal.reconnect()

    assert (await stage.reports.end()).state is STOPPED
    assert stage.runs == ["a"]


async def test_a_second_stop_and_one_after_the_end_change_nothing(stage: Stage) -> None:
    stage.plays["a"] = [works_until_stopped]
    stage.runner.run(chain("a > b"), 1)
    await stage.until_started("a")

    assert stage.runner.stop("request", "first")
    stage.runner.stop("request", "second")
    report = await stage.reports.end()

    assert report.reason == "first"
    assert stage.stopped == ["a"]
    assert not stage.runner.stop("request", "third")
    assert len(stage.reports.ends["request"]) == 1


async def test_a_job_that_ignores_stop_is_cancelled(stage: Stage) -> None:
    stage.policy = StopPolicy(grace=0.01, cancel_grace=60)
    stage.open()
    stage.plays["a"] = [ignores_stop]
    stage.runner.run(chain("a"), 1)
    await stage.until_started("a")

    stage.runner.stop("request", "")

    assert (await stage.reports.end()).state is STOPPED
    assert stage.journal.errors("a") == ["did not stop within 0.01s and was cancelled"]


async def test_a_job_that_ignores_even_that_is_abandoned_and_has_failed(stage: Stage) -> None:
    stage.policy = StopPolicy(grace=0.01, cancel_grace=0.01)
    stage.open()
    release = asyncio.Event()

    async def clings(job: Scripted, data: dict[str, Value]) -> Return:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return Return(COMPLETE)

    stage.plays["a"] = [clings]
    stage.runner.run(chain("a"), 1)
    await stage.until_started("a")

    stage.runner.stop("request", "")

    assert (await stage.reports.end()).state is FAIL
    assert stage.journal.errors("a") == [
        "did not stop within 0.01s and was abandoned; it may still be running"
    ]
    assert len(stage.environment.abandoned_tasks) == 1
    release.set()
    await turns()
    assert not stage.environment.abandoned_tasks
    assert len(stage.journal.entries) == 1


async def test_a_stop_that_raises_is_reported_and_does_not_prevent_the_end(stage: Stage) -> None:
    stage.policy = StopPolicy(grace=0.01, cancel_grace=60)
    stage.open()

    async def breaks_its_stop(job: Scripted, data: dict[str, Value]) -> Return:
        job.stop_requested = None  # type: ignore[assignment] # so that stop raises
        await asyncio.Event().wait()
        return Return(COMPLETE)

    stage.plays["a"] = [breaks_its_stop]
    stage.runner.run(chain("a"), 1)
    await stage.until_started("a")

    stage.runner.stop("request", "")

    assert (await stage.reports.end()).state is STOPPED
    (error,) = stage.journal.errors("a")
    assert error.startswith("did not stop within 0.01s and was cancelled; stop failed: ")


async def test_a_try_over_its_time_is_stopped_and_has_failed(stage: Stage) -> None:
    stage.plays["a"] = [works_until_stopped, returns(COMPLETE)]

    report = await stage.run(chain("a", jobs={"a": {"timeout": 0.01, "retry": 1}}))

    assert report.state is COMPLETE
    assert stage.journal.log() == [("a", 1, FAIL), ("a", 2, COMPLETE)]
    assert stage.journal.errors("a")[0] == "run timeout: the try took longer than 0.01s"


async def test_a_sequence_over_its_time_is_stopped_and_tried_again(stage: Stage) -> None:
    stage.plays |= {
        "c": [works_until_stopped, returns(COMPLETE)],
        "d": [fails(), returns(COMPLETE)],
    }
    limited = chain(
        "A > B > c d > E > F",
        sequences={"B": "B c d E"},
        jobs={
            "B": {"sequence_timeout": 0.01, "sequence_retry": 1},
            "d": {"retry": 1, "retry_wait": "1h"},
        },
    )

    report = await stage.run(limited)

    assert report.state is COMPLETE
    assert stage.journal.log("c") == [("c", 1, FAIL), ("c", 2, COMPLETE)]
    assert stage.journal.errors("c")[0] == "sequence B took longer than 0.01s"


async def test_a_sequence_over_its_time_for_good_fails_in_its_first_job(stage: Stage) -> None:
    stage.plays["b"] = [fails()]
    limited = chain(
        "A > b > c",
        jobs={"A": {"sequence_timeout": 0.01}, "b": {"retry": 1, "retry_wait": "1h"}},
    )

    report = await stage.run(limited)

    assert report.state is FAIL
    assert stage.journal.errors("b") == ["no"]
    assert stage.journal.log("A") == [("A", 1, COMPLETE), ("A", 2, FAIL)]
    assert stage.journal.errors("A") == ["", "sequence A took longer than 0.01s"]
    assert stage.journal.entries[-1].started_at == 0
    assert (report.complete_jobs, report.rolled_back_jobs) == (0, 1)


async def test_a_sequence_over_its_time_is_named_by_the_path_of_its_node(stage: Stage) -> None:
    stage.plays["c"] = [works_until_stopped]
    limited = chain(
        "A > B > c > E > F",
        sequences={"B": "B c E"},
        jobs={"B": {"sequence_timeout": 0.01, "path": "upgrade h05 / (begin)"}},
    )

    await stage.run(limited)

    assert stage.journal.errors("c") == ["sequence upgrade h05 took longer than 0.01s"]


async def test_a_request_over_its_time_is_stopped_and_has_failed(stage: Stage) -> None:
    stage.plays["b"] = [works_until_stopped]

    report = await stage.run(
        chain("a > b > c", timeout=0.01, jobs={"a": {"sequence_retry": 5}, "b": {"retry": 5}})
    )

    assert (report.state, report.reason) == (FAIL, "the request took longer than 0.01s")
    assert stage.journal.log("b") == [("b", 1, FAIL)]
    assert "c" not in stage.runs
