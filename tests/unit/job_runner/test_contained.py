from __future__ import annotations

import asyncio
import gc
import sys

import pytest

from spincycle.job_runner import process
from spincycle.job_runner.contained import TaskExited


async def leaves() -> None:
    await asyncio.sleep(0)
    sys.exit(3)


def test_an_exit_in_a_task_that_a_job_began_ends_that_task_only() -> None:
    async def work() -> int:
        task = asyncio.create_task(leaves(), name="a job's own")
        assert task.get_name() == "a job's own"
        with pytest.raises(TaskExited, match="SystemExit: 3"):
            await task
        return 7

    assert process._run(work()) == 7


def test_an_exit_in_a_task_that_nobody_awaits_is_told_and_harms_nobody() -> None:
    told: list[str] = []

    async def work() -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
        task = asyncio.create_task(leaves())
        await asyncio.wait({task})
        del task
        gc.collect()
        return 7

    assert process._run(work()) == 7
    assert told == ["SystemExit: 3"]


def test_a_task_can_be_cancelled_and_answers_as_ever() -> None:
    async def answers() -> str:
        return "answer"

    async def work() -> int:
        assert await asyncio.create_task(answers()) == "answer"
        sleeping = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        return 0

    assert process._run(work()) == 0
