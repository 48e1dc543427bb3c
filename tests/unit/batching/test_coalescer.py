from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from spincycle.batching.coalescer import Coalescer


class Writer:
    """Records its batches, and returns when the test releases it."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.batches: list[list[str]] = []
        self.doors: list[asyncio.Future[Sequence[str | BaseException]]] = []

    async def write(self, batch: list[str]) -> Sequence[str | BaseException]:
        self.batches.append(batch)
        self.changed.set()
        self.doors.append(asyncio.get_running_loop().create_future())
        return await self.doors[-1]

    async def started(self, count: int) -> None:
        while len(self.batches) < count:
            self.changed.clear()
            await self.changed.wait()

    def answer(self, *answers: str | BaseException) -> None:
        self.doors[-1].set_result(answers or [item.upper() for item in self.batches[-1]])


def submit(coalescer: Coalescer[str, str], *items: str) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(coalescer.submit(item)) for item in items]


async def test_callers_that_arrive_together_are_written_together() -> None:
    writer = Writer()
    callers = submit(Coalescer(writer.write), "a", "b", "c")

    await writer.started(1)
    writer.answer()

    assert await asyncio.gather(*callers) == ["A", "B", "C"]
    assert writer.batches == [["a", "b", "c"]]


async def test_callers_that_arrive_during_a_write_share_the_next_one_in_order() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write)
    first = submit(coalescer, "a")
    await writer.started(1)
    later = submit(coalescer, "b", "c")
    await asyncio.sleep(0)
    assert writer.batches == [["a"]]

    writer.answer()
    await writer.started(2)
    assert await first[0] == "A"
    assert not later[0].done()
    writer.answer()

    assert await asyncio.gather(*later) == ["B", "C"]
    assert writer.batches == [["a"], ["b", "c"]]


async def test_a_batch_has_at_most_max_batch_items() -> None:
    writer = Writer()
    callers = submit(Coalescer(writer.write, max_batch=2), "a", "b", "c")
    for count in (1, 2):
        await writer.started(count)
        writer.answer()

    await asyncio.gather(*callers)
    assert writer.batches == [["a", "b"], ["c"]]


async def test_several_writes_are_in_flight_up_to_the_limit() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write, in_flight=2)
    callers = []
    for count, item in enumerate("abc", 1):
        callers += submit(coalescer, item)
        await writer.started(min(count, 2))
    await asyncio.sleep(0)

    assert writer.batches == [["a"], ["b"]]
    writer.doors[0].set_result(["A"])
    writer.doors[1].set_result(["B"])
    await writer.started(3)
    writer.answer()
    assert await asyncio.gather(*callers) == ["A", "B", "C"]


async def test_an_exception_for_one_item_does_not_affect_the_others() -> None:
    writer = Writer()
    fine, wrong = submit(Coalescer(writer.write), "a", "b")
    await writer.started(1)
    writer.answer("A", ValueError("b is wrong"))

    assert await fine == "A"
    with pytest.raises(ValueError, match="b is wrong"):
        await wrong


async def test_a_failed_write_fails_its_callers_and_not_those_of_the_next() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write)
    callers = submit(coalescer, "a", "b")
    await writer.started(1)
    following = submit(coalescer, "c")
    await asyncio.sleep(0)
    writer.doors[0].set_exception(OSError("away"))
    await writer.started(2)
    writer.answer()

    assert await asyncio.gather(*following) == ["C"]
    for caller in callers:
        with pytest.raises(OSError, match="away"):
            await caller


async def test_a_write_with_missing_results_is_an_error() -> None:
    writer = Writer()
    callers = submit(Coalescer(writer.write), "a", "b")
    await writer.started(1)
    writer.answer("A")

    for caller in callers:
        with pytest.raises(RuntimeError, match="2 items were written, 1 returned"):
            await caller


async def test_a_caller_cancelled_before_the_write_removes_its_item() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write)
    callers = submit(coalescer, "a")
    await writer.started(1)
    callers += submit(coalescer, "b", "c")
    await asyncio.sleep(0)
    callers[1].cancel()
    writer.answer()
    await writer.started(2)
    writer.answer()

    assert await callers[2] == "C"
    assert writer.batches == [["a"], ["c"]]


async def test_a_caller_cancelled_during_the_write_does_not_affect_the_others() -> None:
    writer = Writer()
    callers = submit(Coalescer(writer.write), "a", "b")
    await writer.started(1)
    callers[0].cancel()
    await asyncio.sleep(0)
    writer.answer()

    assert await callers[1] == "B"
    assert callers[0].cancelled()


async def test_enqueued_items_are_written_even_if_not_awaited() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write)
    answered = [coalescer.enqueue(item) for item in "ab"]
    await writer.started(1)
    writer.answer()
    await coalescer.close()

    assert [future.result() for future in answered] == ["A", "B"]


async def test_close_waits_for_submitted_items() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write)
    callers = submit(coalescer, "a")
    await writer.started(1)
    closing = asyncio.create_task(coalescer.close())
    callers += submit(coalescer, "b")
    await asyncio.sleep(0)
    writer.answer()
    await writer.started(2)
    assert not closing.done()
    writer.answer()

    await closing
    assert [caller.result() for caller in callers] == ["A", "B"]


async def test_close_cancels_writes_after_the_grace_period() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write)
    callers = submit(coalescer, "a")
    await writer.started(1)
    callers += submit(coalescer, "b")
    await asyncio.sleep(0)

    await coalescer.close(grace=0)
    await asyncio.wait(callers)

    assert [caller.cancelled() for caller in callers] == [True, True]


async def test_a_caller_that_submits_again_at_once_gets_a_result() -> None:
    async def write(items: Sequence[str]) -> list[str]:
        return list(items)

    coalescer = Coalescer[str, str](write)
    async with asyncio.timeout(10):
        for item in ("first", "second", "third"):
            # The previous writer has ended, but its done callback has not run yet.
            assert await coalescer.submit(item) == item
