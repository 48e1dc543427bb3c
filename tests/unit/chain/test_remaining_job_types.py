from __future__ import annotations

from typing import Any

from tests.unit.chain.chains import chain

from spincycle.chain.remaining_job_types import job_types, remaining_job_types
from spincycle.model.job_chain import JobChain, SuspendedJobChain
from spincycle.model.state import State


def types(**by_job: str) -> dict[str, dict[str, Any]]:
    return {name: {"type": type_} for name, type_ in by_job.items()}


def after(drawn: JobChain, complete: str, **tries: int) -> frozenset[str]:
    """Return the remaining types of a chain with some COMPLETE jobs."""
    for name in complete.split():
        drawn.jobs[name].state = State.COMPLETE
    return remaining_job_types(SuspendedJobChain("request", drawn, sequence_tries=tries))


def test_a_new_chain_needs_the_types_of_all_jobs_that_are_not_structural() -> None:
    drawn = chain("A > b c > D", jobs=types(b="sleep", c="copy"))

    assert job_types(drawn) == after(drawn, "") == {"sleep", "copy"}


def test_a_complete_job_needs_no_type() -> None:
    drawn = chain("A > b > c > D", jobs=types(b="sleep", c="copy"))

    assert after(drawn, "A b") == {"copy"}


def test_a_failed_or_interrupted_job_still_needs_its_type() -> None:
    drawn = chain("A > b c d > E", jobs=types(b="sleep", c="copy", d="drain"))
    drawn.jobs["b"].state = State.FAIL
    drawn.jobs["c"].state = State.STOPPED
    drawn.jobs["d"].state = State.RUNNING

    assert after(drawn, "A") == {"sleep", "copy", "drain"}


def retried(retry: int) -> JobChain:
    """Return a chain with a sequence B to E within a sequence A to G."""
    drawn = chain(
        "A > B > c > d > E > f > G",
        sequences={"A": "A f G", "B": "B c d E"},
        jobs=types(c="sleep", d="copy", f="drain"),
    )
    drawn.jobs["B"].sequence_retry = retry
    return drawn


def test_a_job_that_a_sequence_retry_can_run_again_needs_its_type() -> None:
    assert after(retried(0), "A B c", B=1) == {"copy", "drain"}
    assert after(retried(1), "A B c", B=1) == {"sleep", "copy", "drain"}
    assert after(retried(1), "A B c", B=2) == {"copy", "drain"}


def test_a_complete_sequence_is_not_retried() -> None:
    assert after(retried(1), "A B c d E", B=1) == {"drain"}


def test_a_sequence_retry_runs_nested_jobs_again() -> None:
    drawn = retried(0)
    drawn.jobs["A"].sequence_retry = 1

    assert after(drawn, "A B c d E", A=1, B=1) == {"sleep", "copy", "drain"}
