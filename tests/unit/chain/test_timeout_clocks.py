"""Timeouts count used time, whichever runner has the chain."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.chain.chains import chain
from tests.unit.chain.clocked_run import REQUEST, SECOND, ClockedRun

from spincycle.chain.rebuild import rebuild, replay
from spincycle.chain.timeout_clocks import SuspendedTime
from spincycle.model.job_chain import JobChain, SuspendedPeriod
from spincycle.model.state import State

COMPLETE, FAIL, PENDING = State.COMPLETE, State.FAIL, State.PENDING

Passing = Callable[[ClockedRun, float], None]

UNCOUNTED: list[Passing] = [ClockedRun.suspend]
COUNTED: list[Passing] = [ClockedRun.hand_over, ClockedRun.die]


def limited(timeout: float | None = 100, **within: object) -> JobChain:
    """Return a chain with a job in a nested sequence, whose timeout is 50 s, between two others."""
    fields = {"sequence_timeout": 50.0, "sequence_retry": 1, "sequence_retry_wait": "9s", **within}
    return chain(
        "A > b > C > d > E > f > G",
        sequences={"C": "C d E"},
        timeout=timeout,
        jobs={"C": fields},
    )


@pytest.mark.parametrize("passing", UNCOUNTED)
def test_time_for_which_a_caller_suspended_the_request_does_not_count(passing: Passing) -> None:
    run = ClockedRun(limited())
    run.advance(3)
    run.end("b")
    run.advance(4)

    passing(run, 1_000)
    assert run.left() == {REQUEST: 93, "C": 46}
    run.advance(2)
    passing(run, 1_000)

    assert run.left() == {REQUEST: 91, "C": 44}


@pytest.mark.parametrize("passing", COUNTED)
def test_time_without_a_runner_counts(passing: Passing) -> None:
    run = ClockedRun(limited())
    run.advance(3)
    run.end("b")
    run.advance(4)

    passing(run, 10)
    assert run.left() == {REQUEST: 83, "C": 36}
    run.advance(2)
    passing(run, 10)

    assert run.left() == {REQUEST: 71, "C": 24}


def test_time_before_the_start_of_a_sequence_does_not_count_for_it() -> None:
    run = ClockedRun(limited())
    run.suspend(1_000)
    run.advance(5)
    run.end("b")

    run.die(20)

    assert run.left() == {REQUEST: 75, "C": 30}


@pytest.mark.parametrize("passing", COUNTED)
def test_a_request_that_is_overdue_when_a_runner_takes_it_fails_at_once(passing: Passing) -> None:
    run = ClockedRun(limited())
    run.advance(3)
    tries = list(run.tries)

    passing(run, 97)

    assert run.report is not None
    assert (run.report.state, run.report.reason) == (FAIL, "the request took longer than 1m40s")
    assert run.tries == tries


def test_a_request_whose_jobs_are_complete_is_complete_however_late_its_end_is_reported() -> None:
    run = ClockedRun(chain("a > b", timeout=10))
    run.end("a")
    run.end("b")

    run.die(100)

    assert run.report is not None
    assert run.report.state is COMPLETE


@pytest.mark.parametrize("passing", COUNTED)
def test_a_sequence_that_is_overdue_when_a_runner_takes_it_is_tried_again_with_its_whole_time(
    passing: Passing,
) -> None:
    run = ClockedRun(limited(timeout=None))
    run.end("b")
    run.advance(1)

    passing(run, 60)

    assert run.errors("C") == ["sequence C took longer than 50s"]
    assert run.tries[-1] == "d"
    assert "d" not in run.running
    run.advance(10)
    assert "d" in run.running
    assert run.left() == {"C": 49}


@pytest.mark.parametrize("passing", [*UNCOUNTED, *COUNTED])
def test_a_sequence_that_waits_for_its_next_try_has_no_running_clock(passing: Passing) -> None:
    run = ClockedRun(limited(timeout=None, sequence_retry_wait="1h"))
    run.end("b")
    run.advance(1)
    run.end("d", FAIL)
    assert run.left() == {}

    passing(run, 60)
    assert run.left() == {}
    run.advance(3_600 + 2)

    assert run.left() == {"C": 48}


@pytest.mark.parametrize("passing", [*UNCOUNTED, *COUNTED])
def test_each_try_of_a_sequence_has_its_own_clock(passing: Passing) -> None:
    run = ClockedRun(limited(timeout=None))
    run.end("b")
    run.advance(40)
    run.end("d", FAIL)
    run.advance(9)
    run.advance(5)

    passing(run, 0)

    assert run.left() == {"C": 45}


@pytest.mark.parametrize("passing", [*UNCOUNTED, *COUNTED])
def test_a_sequence_that_has_failed_by_its_timeout_is_not_failed_again(passing: Passing) -> None:
    made = chain(
        "A > b C > F; C > d > E > F",
        sequences={"C": "C d E"},
        jobs={"C": {"sequence_timeout": 5.0}},
    )
    run = ClockedRun(made)
    run.advance(6)
    assert run.errors("C") == ["sequence C took longer than 5s"]

    passing(run, 60)

    assert run.errors("C") == ["sequence C took longer than 5s"]
    assert run.left() == {}
    assert "b" in run.running


@pytest.mark.parametrize("passing", COUNTED)
def test_an_overdue_sequence_fails_as_a_whole_whatever_is_left_within_it(passing: Passing) -> None:
    made = chain(
        "A > B > C > d > E > F > G",
        sequences={"B": "B F", "C": "C d E"},
        within={"C": "B"},
        jobs={"B": {"sequence_timeout": 20.0}, "C": {"sequence_timeout": 10.0}},
    )
    run = ClockedRun(made)
    run.advance(1)

    passing(run, 100)

    assert (run.errors("B"), run.errors("C")) == (["sequence B took longer than 20s"], [])
    assert run.report is not None
    assert run.report.state is FAIL


def test_elements_of_an_each_have_their_own_clocks() -> None:
    timeout = {"sequence_timeout": 50.0}
    made = chain(
        "A > B C D > H; B > b > E > H; C > c > F > H; D > d > G > H",
        sequences={"B": "B b E", "C": "C c F", "D": "D d G"},
        limits=[(1, [("B", "E"), ("C", "F"), ("D", "G")])],
        jobs={"B": timeout, "C": timeout, "D": timeout},
    )
    run = ClockedRun(made)
    run.advance(30)
    run.end("b")
    run.advance(10)

    run.die(5)
    run.suspend(100)

    assert run.left() == {"C": 35}


@pytest.mark.parametrize("passing", COUNTED)
def test_a_sequence_that_begins_with_a_job_counts_from_the_first_try_of_that_job(
    passing: Passing,
) -> None:
    made = chain("a > b", jobs={"a": {"sequence_timeout": 50.0, "retry": 3}})
    run = ClockedRun(made)
    for _ in range(2):
        run.advance(5)
        run.end("a", FAIL)
    run.advance(5)

    passing(run, 10)

    assert run.left() == {"a": 25}


def test_a_saved_state_has_the_starts_of_open_sequences_with_a_timeout_only() -> None:
    made = chain(
        "A > B > c > D > E > f > G > H",
        sequences={"B": "B c D", "E": "E f G"},
        timeout=100,
        jobs={"B": {"sequence_timeout": 10.0}, "E": {"sequence_timeout": 10.0}},
    )
    run = ClockedRun(made)
    started_at = run.now
    run.advance(1)
    run.end("c")
    run.advance(1)

    run.hand_over(0)

    assert run.saved is not None
    expected = {"A": started_at, "E": started_at + SECOND}
    assert run.saved.sequence_started_at == expected
    assert rebuild(made, run.entries, 1, started_at).sequence_started_at == expected


def test_a_chain_without_timeouts_is_saved_without_starts() -> None:
    run = ClockedRun(limited(timeout=None, sequence_timeout=None))
    run.end("b")

    run.hand_over(0)

    assert run.saved is not None
    assert run.saved.sequence_started_at == {}
    assert rebuild(run.chain, run.entries, 1, run.now).sequence_started_at == {}


def test_timeouts_of_a_state_without_starts_count_from_when_a_runner_starts_it() -> None:
    run = ClockedRun(limited())
    run.end("b")
    run.advance(10)
    run.hand_over(10)
    assert run.saved is not None

    run.restart(replace(run.saved, sequence_started_at={}))
    assert run.left() == {REQUEST: 100, "C": 50}
    run.advance(1)
    run.hand_over(1)

    assert run.left() == {REQUEST: 98, "C": 48}


def test_copied_entries_of_a_rerun_begin_no_clock() -> None:
    old = ClockedRun(limited())
    old.end("b")
    old.advance(1)
    kept = [replace(entry, epoch=0) for entry in old.entries]
    saved = replay(copy.deepcopy(old.chain), kept)
    assert saved.sequence_started_at == {}
    old.advance(2_000)

    old.report = None
    old.restart(saved)
    new_started_at = old.now
    assert old.left() == {REQUEST: 100, "C": 50}
    old.entries = list(kept)
    old.started_at = new_started_at
    old.advance(5)
    old.die(10)

    assert old.left() == {REQUEST: 85, "C": 35}


def test_a_rerun_that_no_runner_accepted_has_no_start() -> None:
    old = ClockedRun(limited())
    old.end("b")
    kept = [replace(entry, epoch=0) for entry in old.entries]

    assert rebuild(copy.deepcopy(old.chain), kept, 1).sequence_started_at == {}


def test_a_request_without_a_committed_entry_counts_from_its_start() -> None:
    run = ClockedRun(limited())
    run.entries.clear()

    run.die(30)

    assert run.left() == {REQUEST: 70}


@pytest.mark.parametrize("passing", COUNTED)
def test_a_start_in_the_future_of_the_clock_has_used_nothing(passing: Passing) -> None:
    run = ClockedRun(limited())
    run.end("b")

    passing(run, -3_600)

    assert run.left() == {REQUEST: 100, "C": 50}


@given(
    periods=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=6),
    start=st.integers(1, 40),
    length=st.integers(0, 40),
)
def test_suspended_time_is_what_the_periods_cover(
    periods: list[tuple[int, int]], start: int, length: int
) -> None:
    covered = {moment for first, last in periods for moment in range(first, last)}

    suspended = SuspendedTime([SuspendedPeriod(*period) for period in periods])

    expected = len(covered & set(range(start, start + length)))
    assert suspended.between(start, start + length) == expected


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["run", "run", "suspend", "hand over", "die", "complete", "fail"]),
        st.integers(1, 30),
    ),
    max_size=12,
)


@given(steps=STEPS, request_timeout=st.integers(20, 150), timeout=st.integers(10, 80))
def test_used_time_is_what_a_plain_reading_of_the_history_gives(
    steps: list[tuple[str, int]], request_timeout: int, timeout: int
) -> None:
    run = ClockedRun(
        limited(
            request_timeout, sequence_timeout=timeout, sequence_retry=99, sequence_retry_wait=""
        )
    )
    used, within = 0, None

    for step, seconds in steps:
        if step in ("run", "hand over", "die"):
            passing = {"run": run.advance, "hand over": run.hand_over, "die": run.die}[step]
            passing(seconds)
            used += seconds
            if within is not None and within + seconds >= timeout:
                # On a runner it ends in time, without one when the next runner takes the chain.
                within = (within + seconds) % timeout if step == "run" else 0
            elif within is not None:
                within += seconds
        elif step == "suspend":
            run.suspend(seconds)
        elif step == "complete" and "b" in run.running:
            run.end("b")
            within = 0
        elif step == "fail" and "d" in run.running:
            run.end("d", FAIL)
            within = 0

        if used >= request_timeout:
            assert run.report is not None
            assert run.report.reason.startswith("the request took longer than ")
            return
        expected = {REQUEST: request_timeout - used}
        if within is not None:
            expected["C"] = timeout - within
        assert run.report is None
        assert run.left() == expected
