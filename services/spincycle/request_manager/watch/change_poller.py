"""Looking at what changed in the database, whenever something did that somebody watches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from spincycle.errors import DatabaseUnavailable
from spincycle.request_manager.storage.change_bus import RESYNC, ChangeBus
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.model import Request
from spincycle.runtime.backoff import Backoff

LOOK_INTERVAL = 0.02
"""Shortest time between two looks, in seconds."""

RETRY_INTERVAL = 0.5
"""Seconds after which a look that failed is made again."""

MAX_UNSEEN = 1000
"""Changes that nobody here watches after which they are looked at all the same, to be past them."""

Learn = Callable[[Sequence[Request], bool], Awaitable[None]]
"""Called with rows that changed, before they are told, and whether anything else may have."""


class ChangePoller:
    """Reads changes in the order of their commits, and puts them up for telling.

    Attributes:
        rows: changes of one look after another, each with the snapshot up to which it goes.
    """

    def __init__(
        self,
        store: ChangeStore,
        changes: ChangeBus,
        is_watched: Callable[[str], bool],
        learn: Learn,
    ) -> None:
        self.rows: asyncio.Queue[tuple[str, list[Request]]] = asyncio.Queue()
        self._store = store
        self._changes = changes
        self._is_watched = is_watched
        self._learn = learn
        self._seen = ""
        self._wake = asyncio.Event()
        self._looked = asyncio.Event()
        self._looks = 0
        self._looking = False
        self._anything = False
        self._unheeded = 0

    async def begin(self) -> str:
        """Look at what is committed from now on; answers the snapshot after which that is."""
        self._seen = await self._store.now()
        self._changes.listen(self._heard)
        return self._seen

    def end(self) -> None:
        """Hear of nothing any more."""
        self._changes.forget(self._heard)

    def soon(self) -> None:
        """Look again soon."""
        self._wake.set()

    async def now(self) -> None:
        """Return when everything that was committed before this call is up for telling."""
        target = self._looks + 1 + self._looking
        while self._looks < target:
            self._looked.clear()
            self._wake.set()
            await self._looked.wait()

    async def run(self) -> None:
        """Look whenever something changed, until cancelled."""
        backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._unheeded = 0
            anything, self._anything = self._anything, False
            self._looking = True
            try:
                snapshot, rows = await self._store.after(self._seen)
                await self._learn(rows, anything)
            except DatabaseUnavailable:
                self._anything |= anything
                await backoff.wait()
                self._wake.set()
                continue
            finally:
                self._looking = False
            self._seen = snapshot
            self.rows.put_nowait((snapshot, rows))
            self._looks += 1
            self._looked.set()
            await asyncio.sleep(LOOK_INTERVAL)

    def _heard(self, request_id: str) -> None:
        anything = request_id == RESYNC
        self._anything |= anything
        self._unheeded += 1
        if anything or self._unheeded >= MAX_UNSEEN or self._is_watched(request_id):
            self._wake.set()
