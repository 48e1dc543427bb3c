from __future__ import annotations

import asyncio
import gc
import sys

import pytest

from spincycle.job_runner import process
from spincycle.job_runner.task_factory import TaskExited


async def leaves() -> None:
    await asyncio.sleep(0)
    sys.exit(3)


def test_an_exit_in_a_task_of_a_job_ends_only_that_task() -> None:
    async def work() -> int:
        task = asyncio.create_task(leaves(), name="a job's own")
        assert task.get_name() == "a job's own"
        with pytest.raises(TaskExited, match="SystemExit: 3"):
            await task
        return 7

    assert process._run(work()) == 7


def test_an_exit_in_a_task_that_is_not_awaited_is_reported_and_contained() -> None:
    errors: list[str] = []

    async def work() -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(str(context["exception"])))
        task = asyncio.create_task(leaves())
        await asyncio.wait({task})
        del task
        gc.collect()
        return 7

    assert process._run(work()) == 7
    assert errors == ["SystemExit: 3"]


def test_a_task_can_be_cancelled_and_returns_its_result() -> None:
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
