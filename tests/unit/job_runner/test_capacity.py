from __future__ import annotations

import asyncio

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import (
    Scripted,
    Stage,
    returns,
    turns,
    works_until_stopped,
)

from spincycle.errors import InvalidChain, RunnerFull, StaleEpoch
from spincycle.job import Return, State
from spincycle.job_runner.chain_view import ChainView
from spincycle.model.job_chain import Value

COMPLETE = State.COMPLETE


async def test_a_full_runner_refuses_another_chain(stage: Stage) -> None:
    stage.max_chains = 1
    stage.open()
    stage.plays["a"] = [works_until_stopped]
    stage.runner.run(chain("a", request_id="one"), 1)

    with pytest.raises(RunnerFull, match="the runner already has 1 chains, its maximum"):
        stage.runner.run(chain("a", request_id="two"), 1)

    stage.runner.stop("one", "")
    await stage.reports.end("one")
    stage.runner.run(chain("b", request_id="two"), 1)
    assert (await stage.reports.end("two")).state is COMPLETE


async def test_jobs_beyond_the_limit_wait_and_chains_take_turns(stage: Stage) -> None:
    stage.job_slots = 1
    stage.open()
    order: list[str] = []
    most = 0

    async def noted(job: Scripted, data: dict[str, Value]) -> Return:
        nonlocal most
        most = max(most, stage.runner.jobs)
        order.append(job.id.request_id)
        await asyncio.sleep(0)
        return Return(COMPLETE)

    for name in "abc":
        stage.plays[name] = [noted]
    for request in ("one", "two"):
        stage.runner.run(chain("A > a b c > B", request_id=request), 1)
    await turns(2)
    waiting = [job for job in stage.runner.running() if job.state is State.PENDING]
    assert {job.status for job in waiting} == {"waiting for a free slot on the runner"}

    for request in ("one", "two"):
        assert (await stage.reports.end(request)).state is COMPLETE
    assert order == ["one", "one", "two", "one", "two", "two"]
    assert most == 1


async def test_a_job_that_waits_for_a_slot_can_be_stopped(stage: Stage) -> None:
    stage.job_slots = 1
    stage.open()
    stage.plays |= {"a": [works_until_stopped], "b": [works_until_stopped]}
    stage.runner.run(chain("A > a b > B"), 1)
    await turns()

    stage.runner.stop("request", "")

    assert (await stage.reports.end()).state is State.STOPPED
    assert stage.runs == ["a"]
    assert stage.journal.log("b") == []
    assert stage.runner.jobs == 0


async def test_running_lists_jobs_by_start_and_filters_by_request(stage: Stage) -> None:
    stage.plays |= {"a": [works_until_stopped], "b": [works_until_stopped]}
    stage.runner.run(chain("A > a b > B", request_id="one"), 1)
    stage.runner.run(chain("a", request_id="two"), 1)
    await turns()

    jobs = stage.runner.running()

    assert [(job.request_id, job.job_id) for job in jobs] == [
        ("one", "a"),
        ("one", "b"),
        ("two", "a"),
    ]
    assert jobs[0].started_at < jobs[1].started_at < jobs[2].started_at
    assert {(job.type, job.try_, job.state) for job in jobs} == {("test", 1, State.RUNNING)}
    assert [job.request_id for job in stage.runner.running(frozenset({"two"}))] == ["two"]
    assert len(stage.runner.running(limit=2)) == 2
    assert stage.runner.running(frozenset({"unknown"})) == []


async def test_what_a_job_reports_appears_in_status_and_events(stage: Stage) -> None:
    async def reports(job: Scripted, data: dict[str, Value]) -> Return:
        job.report("copying", 40)
        await job.stop_requested.wait()
        return Return(COMPLETE)

    stage.plays["a"] = [reports]
    stage.runner.run(chain("a"), 1)
    await stage.until_started("a")
    (status,) = stage.runner.running()
    assert status.status == "copying"
    while not any(event.job.percent == 40 for event in stage.watcher.events):
        await turns(1)

    stage.runner.stop("request", "")
    await stage.reports.end()
    assert [event.job.status for event in stage.watcher.events][-1] == ""


async def test_a_chain_is_described_with_every_job_that_has_started(stage: Stage) -> None:
    stage.plays["b"] = [works_until_stopped]
    stage.runner.run(chain("a > b > c"), 1)
    await stage.until_started("b")

    views: list[ChainView] = []
    assert stage.runner.describe("request", views.append)
    assert [(job.job_id, job.state) for job in views[0].jobs] == [
        ("a", COMPLETE),
        ("b", State.RUNNING),
    ]
    assert views[0].sequence_number == stage.watcher.events[-1].sequence_number
    assert not stage.runner.describe("unknown", views.append)


async def test_a_chain_is_described_once_its_entries_are_committed(stage: Stage) -> None:
    stage.journal.disconnected = True
    stage.plays["b"] = [works_until_stopped]
    stage.runner.run(chain("a > b"), 1)
    await stage.until_started("a")
    await turns()
    views: list[ChainView] = []
    stage.runner.describe("request", views.append)
    assert views == []

    stage.journal.reconnect()
    await stage.until_started("b")

    assert [(job.job_id, job.state) for job in views[0].jobs] == [("a", COMPLETE)]


async def test_the_same_chain_under_the_same_epoch_is_accepted_and_runs_once(
    stage: Stage,
) -> None:
    made = chain("a")
    stage.runner.run(made, 3)
    stage.runner.run(made, 3)
    await stage.reports.end()
    stage.runner.run(made, 3)
    await turns()

    assert stage.runs == ["a"]
    assert len(stage.reports.ends["request"]) == 1


async def test_a_lower_epoch_is_refused(stage: Stage) -> None:
    stage.plays["a"] = [works_until_stopped]
    stage.runner.run(chain("a"), 3)

    with pytest.raises(StaleEpoch, match="request request is at epoch 3"):
        stage.runner.run(chain("a"), 2)


async def test_a_higher_epoch_takes_over_once_the_old_jobs_have_ended(stage: Stage) -> None:
    hold = asyncio.Event()

    async def slow(job: Scripted, data: dict[str, Value]) -> Return:
        await hold.wait()
        return Return(State.STOPPED)

    stage.plays["a"] = [slow, returns(COMPLETE)]
    stage.runner.run(chain("a"), 1)
    await stage.until_started("a")

    stage.runner.run(chain("a"), 2)
    await turns()
    assert stage.runs == ["a"]
    assert stage.runner.epoch("request") == 2
    hold.set()

    report = await stage.reports.end()
    assert (report.epoch, report.state) == (2, COMPLETE)
    assert [entry.epoch for entry in stage.journal.entries] == [2]


async def test_a_chain_that_waits_to_take_over_can_be_stopped(stage: Stage) -> None:
    hold = asyncio.Event()

    async def slow(job: Scripted, data: dict[str, Value]) -> Return:
        await hold.wait()
        return Return(State.STOPPED)

    stage.plays["a"] = [slow]
    stage.runner.run(chain("a"), 1)
    await stage.until_started("a")
    stage.runner.run(chain("a"), 2)

    stage.runner.stop("request", "no more")

    report = await stage.reports.end()
    assert (report.epoch, report.state, report.reason) == (2, State.STOPPED, "no more")
    hold.set()
    await turns()
    assert stage.runner.chains == 0
    assert stage.runs == ["a"]


async def test_a_suspended_chain_must_be_the_requests_own(stage: Stage) -> None:
    from spincycle.model.job_chain import SuspendedJobChain

    with pytest.raises(InvalidChain, match='of request other holds a chain of "request"'):
        stage.runner.resume(SuspendedJobChain("other", chain("a")), 1)
