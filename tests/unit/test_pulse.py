from __future__ import annotations

from spincycle.runtime.watchdog import DEAD_AFTER, SLOW_AFTER, Watchdog


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_loop_that_has_not_begun_or_rests_is_well() -> None:
    clock = Clock()
    pulse = Watchdog(clock)
    clock.now += 2 * DEAD_AFTER

    assert pulse.is_quick()
    pulse.begin()
    pulse.rest()
    clock.now += 2 * DEAD_AFTER
    assert pulse.is_alive()


def test_a_turn_is_slow_first_and_given_up_later() -> None:
    clock = Clock()
    pulse = Watchdog(clock)
    pulse.begin()

    clock.now += SLOW_AFTER
    assert not pulse.is_quick()
    assert pulse.is_alive()
    clock.now += DEAD_AFTER
    assert not pulse.is_alive()

    pulse.beat()
    assert pulse.is_quick()


def test_a_loop_that_fails_and_begins_again_has_not_turned() -> None:
    clock = Clock()
    pulse = Watchdog(clock)
    for _ in range(10):
        pulse.begin()
        clock.now += 1

    assert pulse.seconds == 10
