from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.runtime.backoff import Backoff


def delays(backoff: Backoff, count: int) -> list[float]:
    return [backoff.next() for _ in range(count)]


def test_intervals_grow_by_the_factor_up_to_the_maximum() -> None:
    assert delays(Backoff(1, 10, factor=3, draw=lambda: 0.0), 4) == [1, 3, 9, 10]


def test_jitter_shortens_each_interval_by_its_fraction_at_most() -> None:
    assert delays(Backoff(1, 4, jitter=0.5, draw=lambda: 1.0), 3) == [0.5, 1, 2]
    assert delays(Backoff(1, 4, jitter=1.0, draw=lambda: 0.5), 3) == [0.5, 1, 2]
    assert delays(Backoff(1, 4, jitter=0.0, draw=lambda: 1.0), 3) == [1, 2, 4]


def test_reset_starts_from_the_first_interval() -> None:
    backoff = Backoff(1, 10, draw=lambda: 0.0)
    delays(backoff, 3)

    backoff.reset()

    assert delays(backoff, 2) == [1, 2]


@given(st.randoms(use_true_random=False), st.integers(1, 2000))
def test_a_delay_is_between_half_of_the_maximum_and_the_maximum_in_the_end(
    source: random.Random, count: int
) -> None:
    *_, last = delays(Backoff(0.1, 2.0, draw=source.random), count + 5)

    assert 1.0 <= last <= 2.0


def test_processes_that_fail_together_retry_at_different_times() -> None:
    first, second = (Backoff(1, 1, draw=random.Random(seed).random) for seed in (1, 2))

    assert delays(first, 5) != delays(second, 5)


async def test_wait_sleeps_for_the_minimum_and_the_next_delay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    backoff = Backoff(1, 10, draw=lambda: 0.0)

    await backoff.wait()
    await backoff.wait(minimum=30)

    assert slept == [1, 32]
