from __future__ import annotations

import asyncio
from functools import partial

from spincycle.job_runner.fair_slots import FairSlots
from spincycle.job_runner.lease import Lease
from spincycle.job_runner.threads import Threads


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_runner_that_never_sent_a_heartbeat_has_no_lease() -> None:
    assert not Lease(Clock()).holds()


def test_a_lease_starts_when_the_heartbeat_is_sent_not_when_it_is_acknowledged() -> None:
    clock = Clock()
    lease = Lease(clock)
    sent_at = lease.now()
    clock.now += 3
    lease.renew(sent_at, 8)

    clock.now = sent_at + 7.9
    assert lease.holds()
    clock.now = sent_at + 8
    assert not lease.holds()


def test_a_late_acknowledgement_does_not_shorten_a_lease() -> None:
    clock = Clock()
    lease = Lease(clock)
    lease.renew(100, 8)
    lease.renew(95, 8)

    clock.now = 107

    assert lease.holds()


async def test_after_a_freeze_nothing_starts_before_a_heartbeat_is_acknowledged() -> None:
    clock = Clock()
    lease = Lease(clock)
    slots = FairSlots(may_start=lease.holds)
    lease.on_renewal(slots.dispatch)
    started: list[str] = []
    lease.renew(lease.now(), 8)
    slots.acquire("request", "first", lambda: started.append("first"))

    clock.now += 30
    slots.acquire("request", "second", lambda: started.append("second"))
    assert started == ["first"]

    lease.renew(lease.now(), 8)
    assert started == ["first", "second"]


async def test_a_released_slot_is_not_granted_after_the_runner_was_evicted() -> None:
    lease = Lease(Clock())
    slots = FairSlots(1, lease.holds)
    lease.renew(lease.now(), 8)
    started: list[str] = []
    for key in ("first", "second"):
        slots.acquire("request", key, partial(started.append, key))

    lease.revoke()
    slots.release()

    assert started == ["first"]
    assert slots.withdraw("request", "second")


async def test_work_that_waits_for_a_thread_waits_for_the_lease_too() -> None:
    lease = Lease(Clock())
    threads = Threads(1, lease.holds)
    lease.on_renewal(threads.dispatch)
    done = asyncio.Event()

    threads.run("request", "job", lambda: None, lambda: None, lambda *_: done.set())
    assert threads.in_use == 0

    lease.renew(lease.now(), 8)
    await done.wait()
