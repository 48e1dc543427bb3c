from __future__ import annotations

import asyncio

import pytest

from spincycle.dev.foreground import Interrupted, Interruption


class Recorder:
    def __init__(self) -> None:
        self.words: list[str] = []
        self.interruption = Interruption(
            lambda: self.words.append("stopping"), lambda: self.words.append("hurry")
        )


async def for_ever() -> int:
    await asyncio.Event().wait()
    return 0


async def test_uninterrupted_work_returns_its_result() -> None:
    async def work() -> int:
        return 7

    assert await Recorder().interruption.run(work()) == 7


async def test_the_first_request_cancels_the_work_and_the_second_one_kills() -> None:
    recorder = Recorder()
    work = asyncio.create_task(recorder.interruption.run(for_ever()))
    await asyncio.sleep(0)

    recorder.interruption.request()
    with pytest.raises(Interrupted):
        await work
    recorder.interruption.request()

    assert recorder.words == ["stopping", "hurry"]


async def test_after_a_request_no_work_is_started() -> None:
    recorder = Recorder()
    recorder.interruption.request()

    with pytest.raises(Interrupted):
        await recorder.interruption.run(for_ever())


async def test_a_cancellation_from_elsewhere_is_not_an_interruption() -> None:
    work = asyncio.create_task(Recorder().interruption.run(for_ever()))
    await asyncio.sleep(0)

    work.cancel()

    with pytest.raises(asyncio.CancelledError):
        await work
