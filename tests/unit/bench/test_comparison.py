from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import comb
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bench.comparison import (
    LEAST_PAIRS,
    Comparison,
    Figure,
    Pair,
    compare,
    median_interval,
    order,
    read_run,
    violations,
)

SAME = Figure(cpu_ms=10, statements=5, commits=4, rpcs=3)
NAME = "one no-op @ 1"


def compared(ratios: Sequence[float], here: Figure = SAME, base: Figure = SAME) -> Comparison:
    """One figure, with these ratios of CPU time and these counts in every pair."""
    return compare([Pair({NAME: base}, {NAME: replace(here, cpu_ms=10 * r)}) for r in ratios])


def run(**fields: Any) -> dict[str, Any]:
    return {"shapes": {NAME: [{"requests": 20, "cpu_ms": {"gateway": 1, "job-log": 2}, **fields}]}}


def test_each_pair_runs_the_sides_in_the_opposite_order_of_the_pair_before() -> None:
    assert order(0) == ("base", "here")
    for before, after in pairwise(order(pair) for pair in range(LEAST_PAIRS)):
        assert after == before[::-1]


def test_the_interval_of_eight_ratios_goes_from_the_second_to_the_seventh() -> None:
    interval = median_interval([8, 1, 7, 2, 6, 3, 5, 4])

    assert interval is not None
    assert (interval.low, interval.high, interval.rank) == (2, 7, 2)
    assert interval.coverage == 1 - 2 * (1 + 8) / 2**8


def test_five_ratios_have_an_interval_and_four_have_none() -> None:
    interval = median_interval([1, 2, 3, 4, 5])

    assert interval is not None
    assert (interval.low, interval.high) == (1, 5)
    assert median_interval([1, 2, 3, 4]) is None
    assert median_interval([]) is None


@given(st.integers(5, 60))
def test_an_interval_covers_the_median_and_the_next_narrower_one_does_not(size: int) -> None:
    interval = median_interval(range(size))

    assert interval is not None
    inside = sum(comb(size, below) for below in range(interval.rank, size + 1 - interval.rank))
    assert interval.coverage == pytest.approx(inside / 2**size)
    assert interval.coverage >= 0.9
    narrower = sum(comb(size, below) for below in range(interval.rank + 1, size - interval.rank))
    assert narrower / 2**size < 0.9


@given(st.lists(st.floats(0.1, 10), min_size=8, max_size=40))
def test_the_median_ratio_lies_in_its_interval_whatever_the_order_of_the_pairs(
    ratios: list[float],
) -> None:
    first, second = compared(ratios).rows[0].ratio, compared(sorted(ratios)).rows[0].ratio

    assert first == second
    assert first is not None
    assert first.interval is not None
    assert first.interval.low <= first.median <= first.interval.high


def test_counts_are_per_request_and_cpu_time_is_the_sum_of_all_processes() -> None:
    figures = read_run(run(statements=110, commits=90, rpcs={"spincycle.v1.S/Create": 20}))

    assert figures == {NAME: Figure(cpu_ms=3, statements=5.5, commits=4.5, rpcs=1)}


def test_a_figure_is_the_median_over_the_repetitions_of_a_run() -> None:
    runs = [run(statements=count)["shapes"][NAME][0] for count in (20, 400, 40)]

    assert read_run({"shapes": {NAME: runs}})[NAME].statements == 2


def test_what_a_run_does_not_record_is_missing_and_not_zero() -> None:
    assert read_run(run())[NAME] == Figure(cpu_ms=3)
    assert read_run(run(rpcs={}))[NAME].rpcs is None
    assert read_run({"shapes": {NAME: [{"requests": 20, "statements": 0}]}})[NAME] == Figure(
        statements=0
    )
    assert read_run({}) == {}


def test_calls_per_time_and_calls_of_the_harness_are_left_out() -> None:
    rpcs = {
        "spincycle.v1.RequestManagerService/Create": 20,
        "spincycle.v1.RequestManagerService/Beat": 7,
        "spincycle.internal.v1.RunnerCoordinationService/Heartbeat": 7,
        "spincycle.v1.RequestManagerService/List": 90,
        "spincycle.v1.JobRunnerService/RunChains": 10,
    }

    assert read_run(run(rpcs=rpcs))[NAME].rpcs == 1.5


def test_figures_are_joined_by_name_whatever_their_order() -> None:
    base = {"a": replace(SAME, cpu_ms=1), "b": replace(SAME, cpu_ms=10)}
    here = {"b": replace(SAME, cpu_ms=5), "a": replace(SAME, cpu_ms=2)}

    ratios = {row.name: row.ratio for row in compare([Pair(base, here)] * 8).rows}

    assert {name: ratio.median for name, ratio in ratios.items() if ratio} == {"a": 2, "b": 0.5}


def test_a_figure_that_one_side_lacks_is_shown_without_a_ratio() -> None:
    rows = compare([Pair({"old": SAME}, {"new": SAME})] * 8).rows

    assert {row.name: (row.base_cpu_ms, row.here_cpu_ms, row.ratio) for row in rows} == {
        "new": (None, 10, None),
        "old": (10, None, None),
    }


def test_a_count_that_one_side_lacks_is_missing_there_and_has_not_changed() -> None:
    count = compared([1] * 8, base=replace(SAME, rpcs=None)).rows[0].counts["rpcs"]

    assert (count.base, count.here, count.change) == (None, 3, 0)


def test_the_geometric_mean_leaves_out_figures_that_a_pair_lacks() -> None:
    both = Pair({"a": SAME, "b": SAME}, {"a": replace(SAME, cpu_ms=20), "b": SAME})
    one = Pair({"a": SAME}, {"a": replace(SAME, cpu_ms=20)})

    assert compare([both] * 7 + [one]).overall == compare([one] * 8).overall
    mean = compare([both] * 8).overall
    assert mean is not None
    assert mean.median == pytest.approx(2**0.5)


def test_no_figure_on_both_sides_gives_no_geometric_mean() -> None:
    assert compare([Pair({"old": SAME}, {"new": SAME})] * 8).overall is None
    assert compare([]).overall is None


@pytest.mark.parametrize(("here", "change"), [(6, 1), (4, -1), (5, 0), (5.04, 0)])
def test_a_count_has_changed_if_all_pairs_agree_and_the_median_moves_by_a_hundredth(
    here: float, change: int
) -> None:
    assert (
        compared([1] * 8, replace(SAME, statements=here)).rows[0].counts["statements"].change
        == change
    )


def test_one_pair_that_disagrees_leaves_a_count_unchanged() -> None:
    more, less = (Pair({NAME: SAME}, {NAME: replace(SAME, commits=n)}) for n in (6, 3.9))

    assert compare([more] * 8).rows[0].counts["commits"].change == 1
    assert compare([more] * 7 + [less]).rows[0].counts["commits"].change == 0


def test_fewer_than_eight_pairs_establish_no_change_of_a_count() -> None:
    assert compared([1] * 7, replace(SAME, rpcs=6)).rows[0].counts["rpcs"].change == 0


def test_equal_sides_are_not_worse() -> None:
    assert violations(compared([0.9, 1.1] * 4), 0) == []


def test_a_side_is_worse_only_if_the_whole_interval_lies_above_the_limit() -> None:
    slower = [1.04, 1.04, *[1.2] * 6]

    assert violations(compared(slower), 5) == []
    assert [text.partition(":")[0] for text in violations(compared(slower), 3)] == [
        NAME,
        "geometric mean",
    ]


def test_a_count_that_rises_is_worse_and_one_that_falls_is_not() -> None:
    found = violations(compared([1] * 8, replace(SAME, statements=6, commits=3)), 5)

    assert found == [f"{NAME}: statements per request rose"]


def test_what_cannot_be_judged_does_not_pass() -> None:
    assert violations(compare([]), 5)
    assert violations(compared([1] * 7), 5)
    assert violations(compared([1] * 8, base=replace(SAME, rpcs=None)), 5) == [
        f"{NAME}: rpcs per request are not recorded on both sides"
    ]
