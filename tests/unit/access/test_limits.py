"""Limits per caller: a rate that comes back evenly, and open streams."""

from __future__ import annotations

import pytest

from spincycle.access import limits as module
from spincycle.access.config import LimitsConfig
from spincycle.access.limits import CallerLimits
from spincycle.errors import TooManyCreations, TooManyStreams


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_caller_creates_as_many_requests_a_minute_as_it_may() -> None:
    clock = Clock()
    limits = CallerLimits(LimitsConfig(requests_per_minute=3), clock)
    for _ in range(3):
        limits.count_creation("ann")
    with pytest.raises(TooManyCreations) as refused:
        limits.count_creation("ann")
    assert refused.value.retry_after == 5.0
    limits.count_creation("bob")

    clock.now = 19.0
    with pytest.raises(TooManyCreations):
        limits.count_creation("ann")
    clock.now = 20.0
    limits.count_creation("ann")
    with pytest.raises(TooManyCreations):
        limits.count_creation("ann")
    clock.now = 10_000.0
    for _ in range(3):
        limits.count_creation("ann")
    with pytest.raises(TooManyCreations):
        limits.count_creation("ann")


def test_without_limits_everything_is_accepted() -> None:
    limits = CallerLimits()
    for _ in range(1000):
        limits.count_creation("ann")
    with limits.stream("ann"), limits.stream("ann"):
        assert limits.open_requests is None


def test_closed_streams_are_not_counted() -> None:
    limits = CallerLimits(LimitsConfig(streams=2))
    with limits.stream("ann"):
        with limits.stream("ann"), pytest.raises(TooManyStreams), limits.stream("ann"):
            pass
        with limits.stream("ann"), limits.stream("bob"):
            pass


def test_callers_who_have_their_whole_minute_again_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_BUCKETS", 10)
    clock = Clock()
    limits = CallerLimits(LimitsConfig(requests_per_minute=60), clock)
    for number in range(200):
        clock.now += 0.5
        limits.count_creation(f"caller {number}")

    assert len(limits._spent) <= 10 + 1
