"""Several streams as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

One = TypeVar("One")

_AHEAD = 100
"""What is taken from the streams before it is asked for."""


async def merged(*sources: AsyncIterator[One]) -> AsyncGenerator[One, None]:
    """What the sources give, as it comes, until all of them have ended.

    The failure of a source is raised once; the others are cancelled then, and when the caller
    leaves.
    """
    queue: asyncio.Queue[One] = asyncio.Queue(maxsize=_AHEAD)

    async def put_all(source: AsyncIterator[One]) -> None:
        async for one in source:
            await queue.put(one)

    tasks = [asyncio.create_task(put_all(source)) for source in sources]
    running = set(tasks)
    waiting = asyncio.create_task(queue.get())
    try:
        while running or not queue.empty() or waiting.done():
            await asyncio.wait({waiting, *running}, return_when=asyncio.FIRST_COMPLETED)
            # What a source gave before it ended or failed comes first.
            await asyncio.sleep(0)
            if waiting.done():
                one = waiting.result()
                waiting = asyncio.create_task(queue.get())
                yield one
                continue
            for task in [task for task in running if task.done()]:
                running.discard(task)
                task.result()
    finally:
        waiting.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(waiting, *tasks, return_exceptions=True)
