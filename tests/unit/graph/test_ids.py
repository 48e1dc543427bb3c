from __future__ import annotations

import random

import pytest

from spincycle.graph.job_ids import ALPHABET, IdsExhausted, JobIds
from spincycle.model.request_id import RequestIds, is_request_id


def test_job_ids_have_four_characters_and_differ() -> None:
    ids = JobIds()

    drawn = [ids.new() for _ in range(10_000)]

    assert len(set(drawn)) == len(drawn)
    assert all(len(id_) == 4 and set(id_) <= set(ALPHABET) for id_ in drawn)


def test_every_one_character_id_is_drawn_once_before_they_are_exhausted() -> None:
    ids = JobIds(length=1, draw=random.Random(1))

    assert sorted(ids.new() for _ in range(62)) == sorted(ALPHABET)
    with pytest.raises(IdsExhausted, match="unable to generate a UID"):
        ids.new()


def test_request_ids_sort_in_the_order_they_were_drawn() -> None:
    ids = RequestIds()

    drawn = [ids.new() for _ in range(1_000)]

    assert drawn == sorted(set(drawn))
    assert all(is_request_id(id_) for id_ in drawn)


def test_request_ids_sort_by_time_over_processes_and_never_meet() -> None:
    now = 1_700_000_000.0
    first, second = RequestIds(lambda: now), RequestIds(lambda: now + 1)

    ones, others = [first.new() for _ in range(50)], [second.new() for _ in range(50)]

    assert max(ones) < min(others)


def test_a_clock_that_is_set_back_does_not_turn_the_order_round() -> None:
    times = iter([100.0, 50.0, 50.0, 101.0])
    ids = RequestIds(lambda: next(times))

    drawn = [ids.new() for _ in range(4)]

    assert drawn == sorted(set(drawn))


def test_the_counter_may_wrap() -> None:
    ids = RequestIds(lambda: 100.0)
    ids._counter = (1 << 24) - 2

    drawn = [ids.new() for _ in range(4)]

    assert drawn == sorted(set(drawn))


@pytest.mark.parametrize("text", ["", "a" * 19, "w" * 20, "A" * 20, "a" * 21])
def test_other_texts_are_not_request_ids(text: str) -> None:
    assert not is_request_id(text)
