from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.waiting import until

from spincycle.database.database import Database
from spincycle.database.queries import load_queries
from spincycle.request_manager.storage.change_bus import RESYNC, ChangeBus
from spincycle.request_manager.storage.change_notifier import ChangeNotifier
from spincycle.runtime.config import DatabaseConfig, Secret


async def test_changes_are_delivered_to_other_processes_and_not_echoed(database: str) -> None:
    config = DatabaseConfig(dsn=Secret(database))
    queries = load_queries("spincycle.request_manager")
    received: list[list[str]] = [[], []]
    changes = [ChangeBus(), ChangeBus()]
    pools = [await Database.open(config, queries, "test") for _ in changes]
    notifiers = [ChangeNotifier(pool, own) for pool, own in zip(pools, changes, strict=True)]
    for own, into in zip(changes, received, strict=True):
        own.subscribe(into.append)
    tasks = [
        asyncio.create_task(work)
        for notifier in notifiers
        for work in (notifier.publish(), notifier.listen(config))
    ]
    try:
        # A resync is delivered when listening starts.
        await until(lambda: received == [[RESYNC], [RESYNC]])
        changes[0].publish([f"request-{number}" for number in range(700)])
        await until(lambda: len(received[1]) == 701)
        assert set(received[1][1:]) == {f"request-{number}" for number in range(700)}
        # The first process must not receive its own changes again.
        changes[1].publish(["back"])
        await until(lambda: received[0][-1] == "back")
        assert len(received[0]) == 702
        assert len(received[1]) == 702
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        for pool in pools:
            await pool.close()
