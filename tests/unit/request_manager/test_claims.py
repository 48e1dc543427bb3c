from __future__ import annotations

from datetime import UTC, datetime, timedelta

from spincycle.request_manager.runners.claims import ClaimMonitor
from spincycle.request_manager.storage.model import Claim

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_claim_expires_once_it_was_seen_for_the_whole_lease_whatever_time_it_has() -> None:
    clock = Clock()
    monitor = ClaimMonitor(8.0, clock)
    past, future = Claim("a", 1, NOON), Claim("b", 1, NOON + timedelta(days=365_000))
    assert monitor.expired([past, future]) == []

    clock.now += 7.9
    assert monitor.expired([past, future]) == []
    clock.now += 0.1
    assert monitor.expired([past, future]) == [past, future]


def test_a_renewed_claim_gets_a_whole_lease() -> None:
    clock = Clock()
    monitor = ClaimMonitor(8.0, clock)
    for epoch, minutes in [(1, 0), (1, 1), (1, -60), (2, -60)]:
        clock.now += 7.0
        renewed = Claim("a", epoch, NOON + timedelta(minutes=minutes))
        assert monitor.expired([renewed]) == []

    clock.now += 8.0
    assert monitor.expired([renewed]) == [renewed]


def test_the_oldest_claim_comes_first_and_missing_claims_are_forgotten() -> None:
    clock = Clock()
    monitor = ClaimMonitor(8.0, clock)
    old, young, gone = Claim("z", 1, NOON), Claim("a", 1, NOON), Claim("g", 1, NOON)
    monitor.expired([gone])
    clock.now += 1.0
    monitor.expired([old])
    clock.now += 1.0
    monitor.expired([young, old])
    clock.now += 8.0

    assert monitor.expired([young, gone, old]) == [old, young]
