from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from spincycle.batching.single_flight import SingleFlight


class Slow:
    """A read that blocks until the test releases it."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.may_end = asyncio.Event()
        self.problem: Exception | None = None

    async def read(self, key: str) -> str:
        self.began.append(key)
        number = len(self.began)
        await self.may_end.wait()
        if self.problem:
            raise self.problem
        return f"{key} {number}"


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_callers_during_a_read_share_the_next_read_and_never_the_current_one() -> None:
    slow = Slow()
    reads = SingleFlight(slow.read)
    first = asyncio.create_task(reads.get("a"))
    await _turns()
    later = [asyncio.create_task(reads.get("a")) for _ in range(10)]
    await _turns()
    assert slow.began == ["a"]

    slow.may_end.set()
    assert await first == "a 1"
    assert await asyncio.gather(*later) == ["a 2"] * 10
    assert slow.began == ["a", "a"]


async def test_different_keys_do_not_wait_for_one_another() -> None:
    slow = Slow()
    reads = SingleFlight(slow.read)
    tasks = [asyncio.create_task(reads.get(key)) for key in "abc"]
    await _turns()
    assert slow.began == ["a", "b", "c"]
    slow.may_end.set()
    assert await asyncio.gather(*tasks) == ["a 1", "b 2", "c 3"]


async def test_an_error_is_raised_to_all_callers_of_the_read_and_not_to_the_next() -> None:
    slow = Slow()
    reads = SingleFlight(slow.read)
    slow.problem = ValueError("broken")
    tasks = [asyncio.create_task(reads.get("a")) for _ in range(3)]
    await _turns()
    slow.may_end.set()
    assert [str(error) for error in await asyncio.gather(*tasks, return_exceptions=True)] == [
        "broken"
    ] * 3

    slow.problem = None
    assert await reads.get("a") == "a 2"


async def test_a_cancelled_caller_does_not_affect_the_others() -> None:
    slow = Slow()
    reads = SingleFlight(slow.read)
    one, other = asyncio.create_task(reads.get("a")), asyncio.create_task(reads.get("a"))
    await _turns()
    one.cancel()
    with suppress(asyncio.CancelledError):
        await one
    slow.may_end.set()
    assert await other == "a 1"


async def test_a_caller_that_calls_again_at_once_gets_a_result() -> None:
    slow = Slow()
    slow.may_end.set()
    reads = SingleFlight(slow.read)

    async def ask_and_ask() -> None:
        for _ in range(50):
            await reads.get("a")

    async with asyncio.timeout(10):
        await asyncio.gather(*(ask_and_ask() for _ in range(16)))


async def test_results_are_not_retained() -> None:
    slow = Slow()
    slow.may_end.set()
    reads = SingleFlight(slow.read)
    with pytest.raises(AssertionError):
        assert await reads.get("a") == await reads.get("a")
    await _turns()
    assert not reads._readers
    assert not reads._next
