"""Merges asynchronous iterators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

Item = TypeVar("Item")

_MOST_BUFFERED = 100
"""Items read from the sources before the caller takes them."""


async def merged(*sources: AsyncIterator[Item]) -> AsyncGenerator[Item, None]:
    """Yield the items of all sources as they arrive, until every source has ended.

    The first failure of a source is raised after the items before it. The remaining sources are
    cancelled then, or when the caller closes the iterator.
    """
    queue: asyncio.Queue[Item] = asyncio.Queue(maxsize=_MOST_BUFFERED)

    async def put_all(source: AsyncIterator[Item]) -> None:
        async for item in source:
            await queue.put(item)

    tasks = [asyncio.create_task(put_all(source)) for source in sources]
    running = set(tasks)
    waiting = asyncio.create_task(queue.get())
    try:
        while running or not queue.empty() or waiting.done():
            await asyncio.wait({waiting, *running}, return_when=asyncio.FIRST_COMPLETED)
            # Items precede the end or the failure of their source.
            await asyncio.sleep(0)
            if waiting.done():
                item = waiting.result()
                waiting = asyncio.create_task(queue.get())
                yield item
                continue
            for task in [task for task in running if task.done()]:
                running.discard(task)
                task.result()
    finally:
        waiting.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(waiting, *tasks, return_exceptions=True)
