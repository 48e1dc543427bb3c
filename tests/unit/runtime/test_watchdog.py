from __future__ import annotations

from spincycle.runtime.watchdog import DEAD_AFTER, SLOW_AFTER, Watchdog


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_loop_that_has_not_started_or_is_idle_is_responsive() -> None:
    clock = Clock()
    pulse = Watchdog(clock)
    clock.now += 2 * DEAD_AFTER

    assert pulse.is_responsive()
    pulse.start()
    pulse.idle()
    clock.now += 2 * DEAD_AFTER
    assert pulse.is_alive()


def test_a_long_iteration_is_first_slow_and_then_dead() -> None:
    clock = Clock()
    pulse = Watchdog(clock)
    pulse.start()

    clock.now += SLOW_AFTER
    assert not pulse.is_responsive()
    assert pulse.is_alive()
    clock.now += DEAD_AFTER
    assert not pulse.is_alive()

    pulse.tick()
    assert pulse.is_responsive()


def test_a_restart_of_a_loop_does_not_count_as_an_iteration() -> None:
    clock = Clock()
    pulse = Watchdog(clock)
    for _ in range(10):
        pulse.start()
        clock.now += 1

    assert pulse.seconds == 10
