from __future__ import annotations

from tests.bench.selection import select
from tests.bench.shapes import NOOP, TEST, chain

COUNTS = {NOOP: {1: 200, 64: 2000}, TEST: {64: 1000}, chain(100): {1: 10, 8: 80}}


def test_a_shape_is_selected_with_any_number_of_requests_in_flight() -> None:
    assert select(COUNTS, ["one no-op"]) == {NOOP: {1: 200, 64: 2000}}


def test_a_figure_is_selected_by_its_shape_and_requests_in_flight() -> None:
    selected = select(COUNTS, ["chain of 100 @ 8", " test, sleep 0 @ 64"])

    assert selected == {chain(100): {8: 80}, TEST: {64: 1000}}


def test_names_are_matched_in_full_and_unknown_ones_ignored() -> None:
    assert select(COUNTS, ["chain of 10", "one no-op @ 6", "fan of 100"]) == {}
