from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds


async def test_one_who_goes_before_streams_have_begun_leaves_no_task_behind() -> None:
    feeds = RunnerFeeds(cast("RunnerDirectory", None))
    feeds._feeds["one"] = SimpleNamespace(connected=asyncio.Event())  # type: ignore[assignment]
    before = asyncio.all_tasks()

    beginning = asyncio.create_task(feeds.begun())
    while not asyncio.all_tasks() - before - {beginning}:  # noqa: ASYNC110 # Until it waits.
        await asyncio.sleep(0)
    beginning.cancel()
    await asyncio.wait({beginning})
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == before
