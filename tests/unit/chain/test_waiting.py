from __future__ import annotations

import itertools

from spincycle.chain.chain_graph import ChainGraph
from spincycle.chain.chain_state import ChainState
from spincycle.chain.commands import StartTry, TryEnd
from spincycle.chain.waiting import WaitingJob, WaitReason, waits_without_runner
from spincycle.model.job_chain import ChainJob, JobChain, ParallelLimit
from spincycle.model.state import State


def line(*jobs: ChainJob, limits: list[ParallelLimit] | None = None) -> JobChain:
    """Return a chain of consecutive jobs between a begin and an end."""
    begin = ChainJob("bbbb", "request_x_begin", "noop", structural=True)
    end = ChainJob("zzzz", "request_x_end", "noop", structural=True)
    row = [begin, *jobs, end]
    for job in row:
        job.sequence_id = "bbbb"
    following = {one.id: [other.id] for one, other in itertools.pairwise(row)}
    return JobChain(
        "request", {job.id: job for job in row}, following, parallel_limits=limits or []
    )


def fan(limit: int, *jobs: ChainJob) -> JobChain:
    """Return a chain of parallel jobs, of which `limit` may run at once."""
    chain = line()
    for job in jobs:
        job.sequence_id = "bbbb"
        chain.jobs[job.id] = job
    chain.next_jobs = {"bbbb": [job.id for job in jobs]} | {job.id: ["zzzz"] for job in jobs}
    chain.parallel_limits = [ParallelLimit(limit, tuple((job.id, job.id) for job in jobs))]
    return chain


def by_id(state: ChainState) -> dict[str, WaitingJob]:
    return {wait.job_id: wait for wait in state.waits()}


def test_a_job_waits_for_the_parents_that_are_not_complete() -> None:
    state = ChainState.new(
        line(ChainJob("one1", "one", "t"), ChainJob("two2", "two", "t")), 1, float
    )
    state.start(1)
    state.started("one1", 1)

    wait = by_id(state)["two2"]

    assert (wait.reason, wait.waits_for) == (WaitReason.PARENTS, ("one1",))
    assert wait.message == "waits for one (one1, RUNNING)"
    assert "one1" not in by_id(state)


def test_a_job_that_has_not_started_waits_for_a_slot_on_the_runner() -> None:
    state = ChainState.new(line(ChainJob("one1", "one", "t")), 1, float)
    state.start(1)

    assert by_id(state)["one1"].reason is WaitReason.RUNNER_FULL


def test_a_retry_waits_until_a_time() -> None:
    state = ChainState.new(line(ChainJob("one1", "one", "t", retry=1, retry_wait="10s")), 1, float)
    state.start(1)
    state.started("one1", 1)
    state.ended("one1", TryEnd(State.FAIL, started_at=1, finished_at=2), 2)

    wait = by_id(state)["one1"]

    assert (wait.reason, wait.until) == (WaitReason.RETRY_WAIT, 2 + 10 * 10**9)


def test_an_element_beyond_the_window_waits_for_the_limit() -> None:
    chain = fan(1, ChainJob("one1", "one", "t"), ChainJob("two2", "two", "t"))
    state = ChainState.new(chain, 1, float)
    commands = state.start(1)
    state.started("one1", 1)

    assert [command.job_id for command in commands if isinstance(command, StartTry)] == ["one1"]
    assert by_id(state)["two2"].reason is WaitReason.PARALLEL_LIMIT


def test_a_job_whose_parent_is_not_committed_waits_for_the_journal() -> None:
    state = ChainState.new(
        line(ChainJob("one1", "one", "t"), ChainJob("two2", "two", "t")), 1, float
    )
    state.start(1)
    state.started("one1", 1)
    state.ended("one1", TryEnd(State.COMPLETE, started_at=1, finished_at=2), 2)

    assert by_id(state)["two2"].reason is WaitReason.JOURNAL


def test_without_a_runner_only_runnable_jobs_wait_for_what_the_request_waits_for() -> None:
    chain = line(ChainJob("one1", "one", "t"), ChainJob("two2", "two", "t"))
    chain.jobs["bbbb"].state = State.COMPLETE

    waits = {
        wait.job_id: wait for wait in waits_without_runner(chain, WaitReason.NO_RUNNER, "none")
    }

    assert waits["one1"].reason is WaitReason.NO_RUNNER
    assert waits["two2"].reason is WaitReason.PARENTS
    assert ChainGraph(chain).jobs.keys() - waits.keys() == {"bbbb"}


def test_waits_name_jobs_and_their_parents_by_path() -> None:
    chain = line(
        ChainJob("one1", "check", "t", path="upgrade h05 / check"),
        ChainJob("two2", "verify", "t", path="upgrade h05 / verify"),
    )
    state = ChainState.new(chain, 1, float)
    state.start(1)

    on_runner = by_id(state)["two2"]
    (without,) = [
        wait
        for wait in waits_without_runner(chain, WaitReason.NO_RUNNER, "no runner")
        if wait.job_id == "two2"
    ]

    assert (on_runner.path, without.path) == ("upgrade h05 / verify",) * 2
    assert on_runner.message == "waits for upgrade h05 / check (one1, RUNNING)"
    assert without.message == "waits for upgrade h05 / check (one1)"
