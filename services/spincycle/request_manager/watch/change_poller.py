"""The poller of database changes: reads them whenever a watched request may have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from spincycle.errors import DatabaseUnavailable
from spincycle.request_manager.storage.change_bus import RESYNC, ChangeBus
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.registry import SubscriptionRegistry
from spincycle.runtime.backoff import Backoff

POLL_INTERVAL = 0.02
"""Shortest time between two polls, in seconds."""

RETRY_INTERVAL = 0.5
"""Seconds before a failed poll is repeated."""

MAX_UNWATCHED = 1000
"""Changes of unwatched requests after which to poll, so that the snapshot does not fall behind."""


class ChangeListener(Protocol):
    """Prepares for changed requests."""

    async def on_changes(self, rows: Sequence[Request], *, resync: bool) -> None:
        """Prepare for events of these requests; `resync`: runners may have changed, too."""
        ...


class ChangePoller:
    """Reads changed requests in the order of their commits and queues them for the sequencer.

    Attributes:
        polled: the rows of each poll, with the database snapshot that shows them.
    """

    def __init__(
        self,
        store: ChangeStore,
        changes: ChangeBus,
        registry: SubscriptionRegistry,
        listener: ChangeListener,
    ) -> None:
        self.polled: asyncio.Queue[tuple[str, list[Request]]] = asyncio.Queue()
        self._store = store
        self._changes = changes
        self._registry = registry
        self._listener = listener
        self._snapshot = ""
        self._wake = asyncio.Event()
        self._completed = asyncio.Event()
        self._polls = 0
        self._is_polling = False
        self._resync = False
        self._unwatched = 0

    async def start(self) -> str:
        """Subscribe to changes; return the database snapshot after which they are read."""
        self._snapshot = await self._store.now()
        self._changes.subscribe(self._on_change)
        return self._snapshot

    def stop(self) -> None:
        """Unsubscribe from changes."""
        self._changes.unsubscribe(self._on_change)

    def request_poll(self) -> None:
        """Poll as soon as possible."""
        self._wake.set()

    async def poll_now(self) -> None:
        """Return when everything that was committed before this call is in `polled`."""
        target = self._polls + 1 + self._is_polling
        while self._polls < target:
            self._completed.clear()
            self._wake.set()
            await self._completed.wait()

    async def run(self) -> None:
        """Poll after changes, until cancelled."""
        backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._unwatched = 0
            resync, self._resync = self._resync, False
            self._is_polling = True
            try:
                snapshot, rows = await self._store.after(self._snapshot)
                await self._listener.on_changes(rows, resync=resync)
            except DatabaseUnavailable:
                self._resync |= resync
                await backoff.wait()
                self._wake.set()
                continue
            finally:
                self._is_polling = False
            self._snapshot = snapshot
            self.polled.put_nowait((snapshot, rows))
            self._polls += 1
            self._completed.set()
            await asyncio.sleep(POLL_INTERVAL)

    def _on_change(self, request_id: str) -> None:
        resync = request_id == RESYNC
        self._resync |= resync
        self._unwatched += 1
        needs_poll = resync or self._unwatched >= MAX_UNWATCHED
        if needs_poll or self._registry.is_watched(request_id):
            self._wake.set()
