from __future__ import annotations

import pytest
from tests.cli_samples import FAIL, ID, START, ChainMaker, at, entry, rolling_restart_chain

from spincycle.cli.estimate import TypicalDurations, seconds_left
from spincycle.cli.live_request import LiveRequest
from spincycle.model.state import State


def ran(name: str, seconds: float) -> TypicalDurations:
    return TypicalDurations([entry("x", name, started_at=at(0), finished_at=at(seconds))])


def test_a_typical_duration_is_the_mean_of_completed_tries() -> None:
    typical = TypicalDurations(
        [
            entry("a", "drain", started_at=at(0), finished_at=at(2)),
            entry("b", "drain", started_at=at(0), finished_at=at(4)),
            entry("c", "drain", FAIL, started_at=at(0), finished_at=at(100)),
        ]
    )

    assert typical.of("drain", "drain") == 3.0
    assert typical.of("drain", "another-name") == 3.0
    assert typical.of("restart", "restart") is None


def test_parallel_jobs_overlap_and_sequential_jobs_add_up() -> None:
    live = LiveRequest(ID)
    chain = rolling_restart_chain()
    live.set_chain(chain)
    typical = TypicalDurations(
        [
            entry("x", name, started_at=at(0), finished_at=at(2))
            for name in ("plan-order", "drain", "restart", "enable", "report")
        ]
    )

    assert seconds_left(chain, live.jobs, typical, START) == pytest.approx(10.0)


def test_completed_and_running_jobs_take_less_time() -> None:
    live = LiveRequest(ID)
    maker = ChainMaker("x")
    maker.edge(
        "Rq00", maker.job("A000", "wait"), maker.job("B000", "wait"), maker.job("C000", "wait")
    )
    chain = maker.made()
    live.set_chain(chain)
    live.jobs["A000"].state = State.COMPLETE
    live.jobs["B000"].state = State.RUNNING
    live.jobs["B000"].started = START

    assert seconds_left(chain, live.jobs, ran("wait", 5), START + 3) == pytest.approx(7.0)


def test_a_parallel_limit_makes_elements_wait_for_each_other() -> None:
    maker = ChainMaker("x")
    for place in range(6):
        maker.edge("Rq00", maker.job(f"A{place:03}", "wait"))
    chain = maker.made()
    limit = chain.parallel_limits.add(limit=2)
    for place in range(6):
        limit.elements.add(first_job_id=f"A{place:03}", last_job_id=f"A{place:03}")
    live = LiveRequest(ID)
    live.set_chain(chain)

    assert seconds_left(chain, live.jobs, ran("wait", 4), START) == pytest.approx(12.0)


def test_there_is_no_estimate_without_earlier_runs() -> None:
    live = LiveRequest(ID)
    chain = rolling_restart_chain()
    live.set_chain(chain)

    assert seconds_left(chain, live.jobs, TypicalDurations(), START) is None
