from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.chain.chains import chain

from spincycle.chain.validation import check_new, check_resumed
from spincycle.errors import InvalidChain
from spincycle.job import State
from spincycle.model.job_chain import JobChain, ParallelLimit


def broken(made: JobChain) -> str:
    with pytest.raises(InvalidChain) as caught:
        check_new(made)
    return str(caught.value)


def test_a_diamond_is_good() -> None:
    check_new(chain("a > b c > d"))


def test_a_single_job_is_good() -> None:
    check_new(chain("a"))


def test_an_empty_chain_and_an_empty_id_are_refused() -> None:
    assert broken(JobChain("request")) == "the job chain has no jobs"
    assert broken(chain("a", request_id="")) == "the job chain has no request id"
    made = chain("a")
    made.jobs["a"].id = ""
    assert broken(made) == 'invalid job id: job a is "" under "a"'


def test_edges_must_name_jobs_of_the_chain() -> None:
    made = chain("a > b")
    made.next_jobs["x"] = ["b"]
    assert broken(made) == "invalid adjacency list: job x is not in the chain"

    made = chain("a > b")
    made.next_jobs["a"].append("x")
    assert broken(made) == "invalid adjacency list: job x, after a (a), is not in the chain"


def test_an_edge_stands_once() -> None:
    made = chain("a > b")
    made.next_jobs["a"].append("b")
    assert broken(made) == "invalid adjacency list: a (a) names a job twice"


def test_several_sources_and_several_sinks_are_distinguished() -> None:
    assert broken(chain("a > c; b > c")) == ("job chain has more than one start job: a (a), b (b)")
    assert broken(chain("a > b c")) == "job chain has more than one end job: b (b), c (c)"


@pytest.mark.parametrize("drawing", ["a > b > c > a", "a > b > c > b; c > d", "a > b > a; b > c"])
def test_a_cycle_is_refused(drawing: str) -> None:
    assert broken(chain(drawing)) == "chain is cyclic"


def test_a_new_chain_has_not_run() -> None:
    made = chain("a > b")
    made.jobs["b"].state = State.COMPLETE
    assert broken(made) == (
        "invalid job state for new job chain: COMPLETE (3), job b (ID b); expected PENDING"
    )
    assert broken(replace(chain("a"), finished_jobs=2)) == (
        "FinishedJobs = 2, expected 0 for new job chain"
    )


def test_a_resumed_chain_counts_its_complete_jobs() -> None:
    made = chain("a > b > c > d")
    for name, state in zip("abcd", (3, 6, 4, 1), strict=True):
        made.jobs[name].state = State(state)
    check_resumed(replace(made, finished_jobs=1))
    with pytest.raises(InvalidChain, match="FinishedJobs = 0 but there are 1 jobs with state"):
        check_resumed(made)
    made.jobs["d"].state = State.UNKNOWN
    with pytest.raises(InvalidChain, match=r"for existing job chain: UNKNOWN \(0\), job d"):
        check_resumed(replace(made, finished_jobs=1))


def test_a_sequence_is_named_by_its_first_job() -> None:
    made = chain("a > b")
    made.jobs["b"].sequence_id = "x"
    assert broken(made) == (
        "invalid sequence id: b (b) names x, which is not the first job of a sequence"
    )


def test_sequences_nest_without_end_in_a_circle_are_refused() -> None:
    made = chain("a > b > c", sequences={"b": "b"})
    made.jobs["a"].parent_sequence_id = "b"
    assert broken(made) == "sequence a (a) is nested in itself"
    made.jobs["a"].parent_sequence_id = "x"
    assert broken(made).startswith("invalid parent sequence id: a (a) names x")


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (ParallelLimit(0, (("b", "b"),)), "0, must be 1 or more"),
        (ParallelLimit(1, (("x", "b"),)), "job x is not in the chain"),
        (ParallelLimit(1, (("b", "b"), ("b", "c"))), "b (b) is in two elements"),
    ],
)
def test_a_parallel_limit_must_make_sense(limit: ParallelLimit, says: str) -> None:
    made = chain("a > b c > d")
    made.parallel_limits = [limit]
    assert broken(made) == f"invalid parallel limit: {says}"
