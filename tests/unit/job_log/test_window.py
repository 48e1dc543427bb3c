from __future__ import annotations

import asyncio

from spincycle.job_log.window import ByteWindow


def acquire(window: ByteWindow, *sizes: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(window.acquire(size)) for size in sizes]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_fits_is_acquired_at_once_and_the_rest_waits_in_order() -> None:
    window = ByteWindow(10)
    waiters = acquire(window, 6, 4, 3, 1)
    await settle()
    assert [waiter.done() for waiter in waiters] == [True, True, False, False]

    window.release(4)
    await settle()
    assert [waiter.done() for waiter in waiters] == [True, True, True, True]


async def test_a_small_waiter_does_not_overtake_a_large_one() -> None:
    window = ByteWindow(10)
    waiters = acquire(window, 6, 8, 1)
    await settle()
    assert [waiter.done() for waiter in waiters] == [True, False, False]

    window.release(6)
    await settle()
    assert [waiter.done() for waiter in waiters] == [True, True, True]


async def test_a_size_larger_than_the_window_is_acquired_alone() -> None:
    window = ByteWindow(10)
    waiters = acquire(window, 1, 50, 1)
    await settle()
    assert [waiter.done() for waiter in waiters] == [True, False, False]

    window.release(1)
    await settle()
    assert [waiter.done() for waiter in waiters] == [True, True, False]
    window.release(50)
    await settle()
    assert waiters[2].done()


async def test_a_cancelled_waiter_does_not_block_the_next() -> None:
    window = ByteWindow(10)
    waiters = acquire(window, 6, 8, 4)
    await settle()

    waiters[1].cancel()
    await settle()

    assert waiters[1].cancelled()
    assert waiters[2].done()


async def test_a_waiter_cancelled_after_its_acquisition_releases_its_bytes() -> None:
    window = ByteWindow(10)
    first, second = acquire(window, 10, 10)
    await settle()

    window.release(10)
    second.cancel()
    await settle()

    assert first.done()
    assert second.cancelled()
    await asyncio.wait_for(window.acquire(10), 1)


async def test_bytes_released_during_a_cancellation_go_to_the_next_waiter() -> None:
    window = ByteWindow(10)
    _, second, third = acquire(window, 10, 10, 10)
    await settle()

    second.cancel()
    window.release(10)
    await settle()

    assert second.cancelled()
    assert third.done()
