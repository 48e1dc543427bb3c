from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.waiting import until

from spincycle.database.database import Database
from spincycle.database.queries import load_queries
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.change_notifier import ChangeNotifier
from spincycle.runtime.config import DatabaseConfig, Secret


async def test_changes_are_heard_by_the_others_and_not_by_oneself(database: str) -> None:
    config = DatabaseConfig(dsn=Secret(database))
    queries = load_queries("spincycle.request_manager")
    heard: list[list[str]] = [[], []]
    changes = [ChangeBus(), ChangeBus()]
    pools = [await Database.open(config, queries, "test") for _ in changes]
    tellings = [ChangeNotifier(pool, own) for pool, own in zip(pools, changes, strict=True)]
    for own, into in zip(changes, heard, strict=True):
        own.listen(into.append)
    tasks = [
        asyncio.create_task(work)
        for telling in tellings
        for work in (telling.tell(), telling.hear(config))
    ]
    try:
        # "" is what a listener is told when listening begins.
        await until(lambda: heard == [[""], [""]])
        changes[0].changed([f"request-{number}" for number in range(700)])
        await until(lambda: len(heard[1]) == 701)
        assert set(heard[1][1:]) == {f"request-{number}" for number in range(700)}
        # What the first one changed it knows; a second time would be an echo.
        changes[1].changed(["answer"])
        await until(lambda: heard[0][-1] == "answer")
        assert len(heard[0]) == 702
        assert len(heard[1]) == 702
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        for pool in pools:
            await pool.close()
