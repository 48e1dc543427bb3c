from __future__ import annotations

import asyncio

from spincycle.job_runner.fair_slots import FairSlots
from spincycle.job_runner.lease import Lease
from spincycle.job_runner.threads import Threads


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_runner_that_never_beat_can_be_sure_of_nothing() -> None:
    assert not Lease(Clock()).holds()


def test_a_lease_runs_from_when_the_beat_was_sent_not_from_its_answer() -> None:
    clock = Clock()
    lease = Lease(clock)
    sent_at = lease.now()
    clock.now += 3
    lease.renew(sent_at, 8)

    clock.now = sent_at + 7.9
    assert lease.holds()
    clock.now = sent_at + 8
    assert not lease.holds()


def test_an_answer_that_comes_late_does_not_shorten_a_lease() -> None:
    clock = Clock()
    lease = Lease(clock)
    lease.renew(100, 8)
    lease.renew(95, 8)

    clock.now = 107

    assert lease.holds()


async def test_nothing_begins_in_a_process_that_was_frozen_until_a_beat_is_answered() -> None:
    clock = Clock()
    lease = Lease(clock)
    places = FairSlots(may_begin=lease.holds)
    lease.on_renewal(places.serve)
    begun: list[str] = []
    lease.renew(lease.now(), 8)
    places.ask("request", "first", lambda: begun.append("first"))

    clock.now += 30
    places.ask("request", "second", lambda: begun.append("second"))
    assert begun == ["first"]

    lease.renew(lease.now(), 8)
    assert begun == ["first", "second"]


async def test_a_place_that_is_given_back_is_not_given_on_once_the_runner_was_given_up() -> None:
    lease = Lease(Clock())
    places = FairSlots(1, lease.holds)
    lease.renew(lease.now(), 8)
    begun: list[str] = []
    for key in ("first", "second"):
        places.ask("request", key, lambda key=key: begun.append(key))

    lease.end()
    places.give_back()

    assert begun == ["first"]
    assert places.withdraw("request", "second")


async def test_work_in_line_for_a_thread_waits_for_the_lease_too() -> None:
    lease = Lease(Clock())
    threads = Threads(1, lease.holds)
    lease.on_renewal(threads.serve)
    done = asyncio.Event()

    threads.run("request", "job", lambda: None, lambda: None, lambda *_: done.set())
    assert threads.taken == 0

    lease.renew(lease.now(), 8)
    await done.wait()
