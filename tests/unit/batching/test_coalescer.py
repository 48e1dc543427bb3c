from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from spincycle.batching.coalescer import Coalescer


class Writer:
    """Writes when the test lets it, and keeps what it was given."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.batches: list[list[str]] = []
        self.doors: list[asyncio.Future[Sequence[str | BaseException]]] = []

    async def write(self, batch: list[str]) -> Sequence[str | BaseException]:
        self.batches.append(batch)
        self.changed.set()
        self.doors.append(asyncio.get_running_loop().create_future())
        return await self.doors[-1]

    async def begun(self, count: int) -> None:
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

    await writer.begun(1)
    writer.answer()

    assert await asyncio.gather(*callers) == ["A", "B", "C"]
    assert writer.batches == [["a", "b", "c"]]


async def test_callers_that_arrive_during_a_write_share_the_next_one_in_order() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write)
    first = submit(coalescer, "a")
    await writer.begun(1)
    later = submit(coalescer, "b", "c")
    await asyncio.sleep(0)
    assert writer.batches == [["a"]]

    writer.answer()
    await writer.begun(2)
    assert await first[0] == "A"
    assert not later[0].done()
    writer.answer()

    assert await asyncio.gather(*later) == ["B", "C"]
    assert writer.batches == [["a"], ["b", "c"]]


async def test_a_batch_holds_no_more_than_it_may() -> None:
    writer = Writer()
    callers = submit(Coalescer(writer.write, max_batch=2), "a", "b", "c")
    for count in (1, 2):
        await writer.begun(count)
        writer.answer()

    await asyncio.gather(*callers)
    assert writer.batches == [["a", "b"], ["c"]]


async def test_as_many_writes_as_allowed_are_in_flight() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write, in_flight=2)
    callers = []
    for count, item in enumerate("abc", 1):
        callers += submit(coalescer, item)
        await writer.begun(min(count, 2))
    await asyncio.sleep(0)

    assert writer.batches == [["a"], ["b"]]
    writer.doors[0].set_result(["A"])
    writer.doors[1].set_result(["B"])
    await writer.begun(3)
    writer.answer()
    assert await asyncio.gather(*callers) == ["A", "B", "C"]


async def test_one_item_can_fail_alone() -> None:
    writer = Writer()
    fine, wrong = submit(Coalescer(writer.write), "a", "b")
    await writer.begun(1)
    writer.answer("A", ValueError("b is wrong"))

    assert await fine == "A"
    with pytest.raises(ValueError, match="b is wrong"):
        await wrong


async def test_a_write_that_fails_fails_all_its_callers_and_none_of_the_next() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write)
    callers = submit(coalescer, "a", "b")
    await writer.begun(1)
    following = submit(coalescer, "c")
    await asyncio.sleep(0)
    writer.doors[0].set_exception(OSError("away"))
    await writer.begun(2)
    writer.answer()

    assert await asyncio.gather(*following) == ["C"]
    for caller in callers:
        with pytest.raises(OSError, match="away"):
            await caller


async def test_a_write_that_answers_too_little_is_an_error_and_nobody_waits_for_ever() -> None:
    writer = Writer()
    callers = submit(Coalescer(writer.write), "a", "b")
    await writer.begun(1)
    writer.answer("A")

    for caller in callers:
        with pytest.raises(RuntimeError, match="2 items were written, 1 answered"):
            await caller


async def test_a_caller_that_gives_up_in_time_takes_its_item_back() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write)
    callers = submit(coalescer, "a")
    await writer.begun(1)
    callers += submit(coalescer, "b", "c")
    await asyncio.sleep(0)
    callers[1].cancel()
    writer.answer()
    await writer.begun(2)
    writer.answer()

    assert await callers[2] == "C"
    assert writer.batches == [["a"], ["c"]]


async def test_a_caller_that_gives_up_too_late_harms_nobody() -> None:
    writer = Writer()
    callers = submit(Coalescer(writer.write), "a", "b")
    await writer.begun(1)
    callers[0].cancel()
    await asyncio.sleep(0)
    writer.answer()

    assert await callers[1] == "B"
    assert callers[0].cancelled()


async def test_enqueued_items_are_written_though_nobody_waits() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write)
    answered = [coalescer.enqueue(item) for item in "ab"]
    await writer.begun(1)
    writer.answer()
    await coalescer.close()

    assert [future.result() for future in answered] == ["A", "B"]


async def test_close_waits_for_what_was_submitted() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write)
    callers = submit(coalescer, "a")
    await writer.begun(1)
    closing = asyncio.create_task(coalescer.close())
    callers += submit(coalescer, "b")
    await asyncio.sleep(0)
    writer.answer()
    await writer.begun(2)
    assert not closing.done()
    writer.answer()

    await closing
    assert [caller.result() for caller in callers] == ["A", "B"]


async def test_close_gives_up_what_cannot_be_written_in_time() -> None:
    writer = Writer()
    coalescer = Coalescer(writer.write)
    callers = submit(coalescer, "a")
    await writer.begun(1)
    callers += submit(coalescer, "b")
    await asyncio.sleep(0)

    await coalescer.close(grace=0)
    await asyncio.wait(callers)

    assert [caller.cancelled() for caller in callers] == [True, True]


async def test_a_caller_that_comes_again_at_once_is_answered() -> None:
    async def write(items: Sequence[str]) -> list[str]:
        return list(items)

    coalescer = Coalescer[str, str](write)
    async with asyncio.timeout(10):
        for item in ("first", "second", "third"):
            # The writer of the one before has ended, and nobody has yet heard of that.
            assert await coalescer.submit(item) == item
