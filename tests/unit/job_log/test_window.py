from __future__ import annotations

import asyncio

from spincycle.job_log.window import ByteWindow


def take(window: ByteWindow, *sizes: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(window.take(size)) for size in sizes]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_fits_is_acquired_at_once_and_the_rest_waits_in_order() -> None:
    window = ByteWindow(10)
    takers = take(window, 6, 4, 3, 1)
    await settle()
    assert [taker.done() for taker in takers] == [True, True, False, False]

    window.give_back(4)
    await settle()
    assert [taker.done() for taker in takers] == [True, True, True, True]


async def test_a_small_waiter_does_not_overtake_a_large_one() -> None:
    window = ByteWindow(10)
    takers = take(window, 6, 8, 1)
    await settle()
    assert [taker.done() for taker in takers] == [True, False, False]

    window.give_back(6)
    await settle()
    assert [taker.done() for taker in takers] == [True, True, True]


async def test_a_size_larger_than_the_window_is_acquired_alone() -> None:
    window = ByteWindow(10)
    takers = take(window, 1, 50, 1)
    await settle()
    assert [taker.done() for taker in takers] == [True, False, False]

    window.give_back(1)
    await settle()
    assert [taker.done() for taker in takers] == [True, True, False]
    window.give_back(50)
    await settle()
    assert takers[2].done()


async def test_a_cancelled_waiter_does_not_block_the_next() -> None:
    window = ByteWindow(10)
    takers = take(window, 6, 8, 4)
    await settle()

    takers[1].cancel()
    await settle()

    assert takers[1].cancelled()
    assert takers[2].done()


async def test_a_waiter_cancelled_after_its_acquisition_releases_its_bytes() -> None:
    window = ByteWindow(10)
    first, second = take(window, 10, 10)
    await settle()

    window.give_back(10)
    second.cancel()
    await settle()

    assert first.done()
    assert second.cancelled()
    await asyncio.wait_for(window.take(10), 1)


async def test_bytes_released_during_a_cancellation_go_to_the_next_waiter() -> None:
    window = ByteWindow(10)
    _, second, third = take(window, 10, 10, 10)
    await settle()

    second.cancel()
    window.give_back(10)
    await settle()

    assert second.cancelled()
    assert third.done()
