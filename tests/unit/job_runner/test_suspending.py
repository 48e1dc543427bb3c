from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import (
    Scripted,
    Stage,
    fails,
    ignores_stop,
    leaves,
    returns,
    turns,
    works_until_stopped,
)

from spincycle.job import Return, State
from spincycle.job_runner.try_environment import StopPolicy
from spincycle.model.job_chain import JobChain, SuspendedJobChain, Value

COMPLETE, FAIL, STOPPED, PENDING = State.COMPLETE, State.FAIL, State.STOPPED, State.PENDING


def states(suspended: SuspendedJobChain) -> list[State]:
    return [job.state for job in suspended.job_chain.jobs.values()]


async def suspended(stage: Stage, made: JobChain, *running: str) -> SuspendedJobChain:
    stage.runner.run(made, 1)
    await stage.until_started(*running)
    await turns()
    assert stage.runner.suspend("request")
    return await stage.reports.save()


async def test_a_suspended_chain_is_saved_with_its_counters(stage: Stage) -> None:
    stage.plays["c"] = [works_until_stopped]

    saved = await suspended(stage, chain("A > B > c > D > E"), "c")

    assert states(saved) == [COMPLETE, COMPLETE, STOPPED, PENDING, PENDING]
    assert saved.job_chain.state is State.SUSPENDED
    assert saved.job_chain.finished_jobs == 2
    assert saved.total_job_tries == saved.latest_run_job_tries == {"A": 1, "B": 1, "c": 1}
    assert saved.sequence_tries == {"A": 1}
    assert (saved.epoch, saved.journal_position) == (1, 3)
    assert not stage.reports.ends


async def test_a_resumed_chain_repeats_the_stopped_try_under_the_next_number(
    stage: Stage,
) -> None:
    stage.plays["c"] = [works_until_stopped, returns(COMPLETE)]
    saved = await suspended(stage, chain("A > B > c > D > E"), "c")

    stage.runner.resume(saved, 2)

    assert (await stage.reports.end()).state is COMPLETE
    assert stage.journal.log("c") == [("c", 1, STOPPED), ("c", 2, COMPLETE)]
    assert [entry.position for entry in stage.journal.entries] == [1, 2, 3, 4, 5, 6]
    assert stage.journal.entries[-1].epoch == 2


async def test_a_try_that_a_suspension_stopped_is_not_used_up(stage: Stage) -> None:
    stage.plays["a"] = [fails(), works_until_stopped, fails()]
    saved = await suspended(stage, chain("a", jobs={"a": {"retry": 1}}), "a")
    assert saved.latest_run_job_tries == {"a": 2}

    stage.runner.resume(saved, 2)

    await stage.reports.end()
    assert stage.journal.log() == [("a", 1, FAIL), ("a", 2, STOPPED), ("a", 3, FAIL)]


async def test_a_wait_between_tries_is_not_repeated_and_leaves_no_gap(stage: Stage) -> None:
    stage.plays["a"] = [fails()]
    saved = await suspended(stage, chain("a", jobs={"a": {"retry": 1, "retry_wait": "1h"}}), "a")
    assert states(saved) == [PENDING]

    stage.runner.resume(saved, 2)

    assert (await stage.reports.end()).state is FAIL
    assert stage.journal.log() == [("a", 1, FAIL), ("a", 2, FAIL)]


async def test_a_sequence_that_waits_for_its_retry_is_saved_rolled_back(stage: Stage) -> None:
    stage.plays["b"] = [fails()]
    waiting = {"sequence_retry": 1, "sequence_retry_wait": "1h"}

    saved = await suspended(stage, chain("a > b", jobs={"a": waiting}), "b")

    assert states(saved) == [PENDING, PENDING]
    assert saved.total_job_tries == {"a": 1, "b": 1}
    assert saved.latest_run_job_tries == {"a": 0, "b": 0}
    assert saved.sequence_tries == {"a": 1}


async def test_a_branch_that_has_failed_does_not_fail_a_suspension(stage: Stage) -> None:
    stage.plays |= {"b": [fails()], "c": [works_until_stopped, returns(COMPLETE)]}
    saved = await suspended(stage, chain("a > b c > d"), "c")
    assert states(saved) == [COMPLETE, FAIL, STOPPED, PENDING]

    stage.runner.resume(saved, 2)

    report = await stage.reports.end()
    assert (report.state, report.complete_jobs) == (FAIL, 2)
    assert stage.runs.count("b") == 1


async def test_a_job_that_ignores_stop_does_not_fail_a_suspension(stage: Stage) -> None:
    stage.policy = StopPolicy(grace=0.01, cancel_grace=0.01)
    stage.open()

    async def clings(job: Scripted, data: dict[str, Value]) -> Return:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()
        return Return(COMPLETE)

    stage.plays |= {"b": [clings], "c": [ignores_stop]}

    saved = await suspended(stage, chain("a > b c > d"), "b", "c")

    assert states(saved) == [COMPLETE, STOPPED, STOPPED, PENDING]
    assert stage.journal.errors("b") == [
        "did not stop within 0.01s and was abandoned; it may still be running"
    ]


async def test_a_chain_that_ends_while_it_is_suspended_has_ended(stage: Stage) -> None:
    async def completes(job: Scripted, data: dict[str, Value]) -> Return:
        await job.stop_requested.wait()
        return Return(COMPLETE)

    stage.plays["a"] = [completes]
    stage.runner.run(chain("a"), 1)
    await stage.until_started("a")

    stage.runner.suspend("request")

    assert (await stage.reports.end()).state is COMPLETE
    assert not stage.reports.saved


async def test_a_stop_overtakes_a_suspension(stage: Stage) -> None:
    hold = asyncio.Event()

    async def slow(job: Scripted, data: dict[str, Value]) -> Return:
        await hold.wait()
        return Return(STOPPED)

    stage.plays["a"] = [slow]
    stage.runner.run(chain("a > b"), 1)
    await stage.until_started("a")
    stage.runner.suspend("request")

    stage.runner.stop("request", "no, stop it")
    hold.set()

    report = await stage.reports.end()
    assert (report.state, report.reason) == (STOPPED, "no, stop it")
    assert not stage.reports.saved


async def test_job_data_survives_a_suspension(stage: Stage) -> None:
    stage.plays |= {"a": [leaves(n=1)], "c": [works_until_stopped, returns(COMPLETE)]}
    saved = await suspended(stage, chain("a > B > c > d"), "c")

    stage.runner.resume(saved, 2)

    await stage.reports.end()
    assert stage.given["c"] == [{"n": 1}, {"n": 1}]
    assert stage.given["d"] == [{"n": 1}]


async def test_a_resumed_window_continues_where_it_was(stage: Stage) -> None:
    stage.plays["c"] = [works_until_stopped, returns(COMPLETE)]
    elements = [(name, name) for name in "bcde"]
    saved = await suspended(stage, chain("A > b c d e > F", limits=[(1, elements)]), "c")

    stage.runner.resume(saved, 2)

    assert (await stage.reports.end()).state is COMPLETE
    assert stage.runs == ["b", "c", "c", "d", "e"]


async def test_a_job_with_no_tries_left_fails_rather_than_hang(stage: Stage) -> None:
    made = chain("a > b")
    exhausted = SuspendedJobChain(
        "request", made, {"a": 1}, {"a": 1}, {"a": 1}, epoch=1, journal_position=1
    )

    stage.runner.resume(exhausted, 2)

    report = await stage.reports.end()
    assert (report.state, report.reason) == (FAIL, "job a (a) failed: no tries left")


async def test_a_draining_runner_suspends_all_chains_and_admits_none(stage: Stage) -> None:
    from spincycle.errors import RunnerDraining

    stage.plays["a"] = [works_until_stopped]
    for name in ("one", "two"):
        stage.runner.run(chain("a > b", request_id=name), 1)
    await turns()

    remaining = await stage.runner.drain(grace=60)

    assert remaining == []
    assert set(stage.reports.saved) == {"one", "two"}
    with pytest.raises(RunnerDraining, match="the Job Runner is shutting down"):
        stage.runner.run(chain("a", request_id="three"), 1)


async def test_a_drain_returns_the_requests_that_it_could_not_suspend_in_time(stage: Stage) -> None:
    stage.plays["a"] = [works_until_stopped]
    stage.journal.disconnected = True
    stage.runner.run(chain("a"), 1)
    await stage.until_started("a")

    assert await stage.runner.drain(grace=0.01) == ["request"]


async def test_an_interrupted_try_that_must_not_be_repeated_is_journalled_as_failed(
    stage: Stage,
) -> None:
    made = chain("a > b", jobs={"a": {"fail_if_interrupted": True, "retry": 1}})
    made.jobs["a"] = replace(made.jobs["a"], state=State.RUNNING)
    interrupted = SuspendedJobChain("request", made, {"a": 1}, {"a": 1}, {"a": 1})

    stage.runner.resume(interrupted, 2)

    assert (await stage.reports.end()).state is COMPLETE
    assert stage.journal.log("a") == [("a", 1, FAIL), ("a", 2, COMPLETE)]
    assert stage.journal.errors("a")[0].startswith("interrupted: the runner ended during this try")
