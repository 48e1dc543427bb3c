from __future__ import annotations

from spincycle.runtime.watchdog import DEAD_AFTER, SLOW_AFTER, Watchdog


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_loop_that_has_not_started_or_is_idle_is_responsive() -> None:
    clock = Clock()
    watchdog = Watchdog(clock)
    clock.now += 2 * DEAD_AFTER

    assert watchdog.is_responsive()
    watchdog.start()
    watchdog.idle()
    clock.now += 2 * DEAD_AFTER
    assert watchdog.is_alive()


def test_a_long_iteration_is_first_slow_and_then_dead() -> None:
    clock = Clock()
    watchdog = Watchdog(clock)
    watchdog.start()

    clock.now += SLOW_AFTER
    assert not watchdog.is_responsive()
    assert watchdog.is_alive()
    clock.now += DEAD_AFTER
    assert not watchdog.is_alive()

    watchdog.tick()
    assert watchdog.is_responsive()


def test_a_restart_of_a_loop_does_not_count_as_an_iteration() -> None:
    clock = Clock()
    watchdog = Watchdog(clock)
    for _ in range(10):
        watchdog.start()
        clock.now += 1

    assert watchdog.seconds == 10
