"""The hub: starts event delivery for the first subscriber and stops it after the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from spincycle.errors import ShuttingDown
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.session import WatchSession
from spincycle.request_manager.watch.snapshots import RequestSnapshots


class Hub:
    """Keeps a watch session running while there are subscribers."""

    def __init__(
        self,
        store: ChangeStore,
        feeds: RunnerFeeds,
        changes: ChangeBus,
        snapshots: RequestSnapshots,
    ) -> None:
        self._store = store
        self._feeds = feeds
        self._changes = changes
        self._snapshots = snapshots
        self._starting = asyncio.Lock()
        self._subscribers = 0
        self._session: WatchSession | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[WatchSession]:
        """Yield the session that all current subscribers share; start it for the first one.

        Raises:
            DatabaseUnavailable: the session cannot be started.
        """
        self._subscribers += 1
        try:
            async with self._starting:
                session = self._session or await self._start()
            yield session
        finally:
            self._subscribers -= 1
            if not self._subscribers:
                await self._stop()

    async def close(self) -> None:
        """Stop the session and disconnect its subscribers, which then call another copy."""
        if self._session is not None:
            self._session.disconnect_all(ShuttingDown("the request manager"))
        await self._stop()

    async def _start(self) -> WatchSession:
        session = WatchSession(self._store, self._feeds, self._changes, self._snapshots)
        try:
            await session.start()
        except BaseException:
            self._ending.update(session.stop())
            raise
        self._session = session
        # The session is started: a subscriber that leaves now does not take it from the others.
        await self._feeds.wait_connected()
        return session

    async def _stop(self) -> None:
        # Cancel everything before the first await: this task may be cancelled while it waits, and
        # a new subscriber may start the next session meanwhile.
        session, self._session = self._session, None
        if session is not None:
            self._ending.update(session.stop())
        while self._ending:
            done, _ = await asyncio.wait(self._ending)
            self._ending -= done
