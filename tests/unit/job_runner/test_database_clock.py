from __future__ import annotations

import random

import pytest

from spincycle.job_runner.database_clock import ESTIMATES, DatabaseClock

MS = 1_000_000
HOUR = 3600 * 1000 * MS


class World:
    """The true time and clocks with the given errors, in nanoseconds."""

    def __init__(self, *, wall: int = 0, database: int = 0) -> None:
        self.now = 1_700_000_000_000 * MS
        self.wall = wall
        self.database = database
        self.clock = DatabaseClock(lambda: self.now - 5 * HOUR, lambda: self.now + self.wall)

    def heartbeat(self, there: int, back: int) -> None:
        """Send a heartbeat that is stored after `there` and acknowledged after `back` more."""
        sent_at = self.clock.monotonic()
        self.now += there
        stored_at = self.now + self.database
        self.now += back
        self.clock.acknowledged(sent_at, stored_at)

    def error(self) -> int:
        """Return how far the clock of a new chain is ahead of the database's."""
        return self.clock.for_chain()() - self.now - self.database


@pytest.mark.parametrize("wrong", [-HOUR, 0, HOUR])
def test_the_clock_of_a_chain_is_that_of_the_database_whatever_this_machine_says(
    wrong: int,
) -> None:
    world = World(wall=wrong, database=7 * MS)

    world.heartbeat(2 * MS, 2 * MS)

    assert world.error() == 0


def test_before_the_first_estimate_the_machines_clock_is_used() -> None:
    world = World(wall=3 * MS)

    assert world.error() == 3 * MS


def test_the_estimate_with_the_shortest_round_trip_is_used() -> None:
    world = World()
    world.heartbeat(100 * MS, 0)
    world.heartbeat(MS, 3 * MS)
    world.heartbeat(0, 500 * MS)

    assert world.error() == -MS


def test_an_old_estimate_is_discarded() -> None:
    world = World()
    world.heartbeat(2 * MS, 0)
    for _ in range(ESTIMATES):
        world.heartbeat(2 * MS, 4 * MS)

    assert world.error() == -MS


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_a_clock_of_the_database_that_was_set_is_followed_at_once(jump: int) -> None:
    world = World()
    world.heartbeat(MS, MS)
    world.database = jump

    world.heartbeat(50 * MS, 50 * MS)

    assert world.error() == 0


def test_the_clock_of_a_chain_measures_durations_whatever_other_clocks_do() -> None:
    world = World()
    draw = random.Random(12).randrange
    clocks = [world.clock.for_chain()]

    for _ in range(500):
        before, started = [clock() for clock in clocks], world.now
        world.wall, world.database = draw(-HOUR, HOUR), draw(-HOUR, HOUR)
        world.heartbeat(draw(1000 * MS), draw(1000 * MS))

        durations = [clock() - time for clock, time in zip(clocks, before, strict=True)]
        assert durations == [world.now - started] * len(clocks)
        clocks.append(world.clock.for_chain())
