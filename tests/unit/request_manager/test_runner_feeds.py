from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds, _Feed


async def test_a_subscriber_that_leaves_before_streams_have_started_leaves_no_task_behind() -> None:
    feeds = RunnerFeeds(cast("RunnerDirectory", None))
    feeds._feeds["one"] = cast("_Feed", SimpleNamespace(connected=asyncio.Event()))
    before = asyncio.all_tasks()

    waiting = asyncio.create_task(feeds.wait_connected())
    while not asyncio.all_tasks() - before - {waiting}:  # noqa: ASYNC110 # Until it waits.
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == before
