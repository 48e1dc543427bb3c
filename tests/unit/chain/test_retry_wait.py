from __future__ import annotations

import pytest

from spincycle.chain.retry_wait import LONGEST, wait_before_retry
from spincycle.model.job_chain import BackoffPolicy


def waits(wait: str, backoff: BackoffPolicy | None, count: int, draw: float = 0.0) -> list[float]:
    return [wait_before_retry(wait, backoff, tries, lambda: draw) for tries in range(1, count + 1)]


def test_without_backoff_every_wait_is_as_written() -> None:
    assert waits("1m30s", None, 3) == [90, 90, 90]


@pytest.mark.parametrize("wait", ["", "0s", "soon", "-5s"])
def test_an_invalid_wait_is_no_wait(wait: str) -> None:
    assert waits(wait, BackoffPolicy(factor=2), 2) == [0, 0]


def test_backoff_grows_up_to_its_longest_wait() -> None:
    assert waits("1s", BackoffPolicy(factor=3, max_wait=10), 4) == [1, 3, 9, 10]


def test_growth_without_a_limit_stays_finite() -> None:
    assert wait_before_retry("1h", BackoffPolicy(factor=1e9), 10_000, lambda: 0) == LONGEST


def test_jitter_shortens_a_wait_by_at_most_its_part() -> None:
    assert waits("10s", BackoffPolicy(jitter=0.5), 1, draw=0.0) == [10]
    assert waits("10s", BackoffPolicy(jitter=0.5), 1, draw=0.999) == pytest.approx([5.005])
