from __future__ import annotations

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import (
    Stage,
    fails,
    leaves,
    returns,
    turns,
    works_until_stopped,
)

from spincycle.chain.rebuild import rebuild
from spincycle.errors import InvalidChain
from spincycle.job import State
from spincycle.model.job_chain import JobChain, SuspendedJobChain

COMPLETE, FAIL, PENDING = State.COMPLETE, State.FAIL, State.PENDING


def states(suspended: SuspendedJobChain) -> dict[str, State]:
    return {job_id: job.state for job_id, job in suspended.job_chain.jobs.items()}


async def dies(stage: Stage, made: JobChain) -> SuspendedJobChain:
    """Run until the chain is idle, then rebuild it as if the runner had died."""
    stage.runner.run(made, 1)
    await turns()
    entries = list(stage.journal.entries)
    stage.runner.abandon_all()
    await turns()
    stage.open()
    return rebuild(made, entries, epoch=1)


async def test_what_was_journalled_does_not_run_again(stage: Stage) -> None:
    stage.plays |= {"b": [leaves(n=1)], "c": [works_until_stopped, returns(COMPLETE)]}
    rebuilt = await dies(stage, chain("A > b > c > D"))
    assert states(rebuilt) == {"A": COMPLETE, "b": COMPLETE, "c": PENDING, "D": PENDING}
    assert rebuilt.journal_position == 2

    stage.runner.resume(rebuilt, 2)

    assert (await stage.reports.end()).state is COMPLETE
    assert stage.runs == ["b", "c", "c"]
    assert stage.given["c"] == [{"n": 1}, {"n": 1}]


async def test_an_interrupted_try_leaves_its_number_unused(stage: Stage) -> None:
    stage.plays["b"] = [works_until_stopped, returns(COMPLETE)]
    rebuilt = await dies(stage, chain("A > b > c"))
    assert rebuilt.total_job_tries == {"A": 1, "b": 1}
    assert rebuilt.latest_run_job_tries["b"] == 0

    stage.runner.resume(rebuilt, 2)

    await stage.reports.end()
    assert stage.journal.log("b")[-1] == ("b", 2, COMPLETE)


def test_numbers_of_several_dead_runners_stay_unused() -> None:
    assert rebuild(chain("a > b"), [], epoch=3).total_job_tries == {"a": 3}


async def test_an_interrupted_try_that_must_not_be_repeated_is_marked(stage: Stage) -> None:
    stage.plays["b"] = [works_until_stopped]
    once = {"fail_if_interrupted": True}

    rebuilt = await dies(stage, chain("A > b > c", jobs={"b": once, "c": once}))

    assert states(rebuilt) == {"A": COMPLETE, "b": State.RUNNING, "c": PENDING}
    assert rebuilt.total_job_tries == {"A": 1, "b": 1}


async def test_a_sequence_that_had_failed_restarts(stage: Stage) -> None:
    stage.plays["c"] = [fails(), returns(COMPLETE)]
    waiting = {"sequence_retry": 1, "sequence_retry_wait": "1h"}
    rebuilt = await dies(stage, chain("A > b > c > D", jobs={"A": waiting}))

    assert states(rebuilt) == dict.fromkeys(["A", "b", "c", "D"], PENDING)
    assert rebuilt.sequence_tries == {"A": 1}
    assert rebuilt.total_job_tries["c"] == 1


async def test_a_chain_that_had_ended_ends_again(stage: Stage) -> None:
    made = chain("a > b")
    await stage.run(made)
    rebuilt = rebuild(made, stage.journal.entries, epoch=1)
    stage.reports.ends.clear()

    stage.runner.resume(rebuilt, 2)

    assert (await stage.reports.end()).state is COMPLETE
    assert stage.runs == ["a", "b"]


def test_an_entry_of_a_foreign_job_is_refused() -> None:
    from spincycle.model.journal_entry import JournalEntry

    foreign = JournalEntry("request", "x", 1, "x", "test", 1, 2, COMPLETE, position=1)
    with pytest.raises(InvalidChain, match="an entry of job x, which is not in the chain"):
        rebuild(chain("a"), [foreign])
