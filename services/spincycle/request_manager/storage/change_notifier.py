"""Notifications of changes between request managers, by NOTIFY and LISTEN of PostgreSQL."""

from __future__ import annotations

import asyncio
import secrets

from spincycle.database.database import Database
from spincycle.database.notifications import listen
from spincycle.errors import DatabaseUnavailable
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.runtime.backoff import Backoff
from spincycle.runtime.config import DatabaseConfig

CHANNEL = "spincycle_requests"
"""Channel of the notifications: "<sender> <id>,<id>,…" with the ids of changed requests."""

RETRY_INTERVAL = 1.0
"""Seconds until notifications that could not be sent are sent again."""

BATCH_INTERVAL = 0.02
"""Seconds between two notifications: changes within it are sent together."""

_MAX_IDS = 300
"""A notification has less than 8000 bytes, and an id has 20."""


class ChangeNotifier:
    """Sends the changes that this process publishes, and receives those of other processes.

    Attributes:
        listening: whether notifications of other processes arrive.
    """

    def __init__(self, database: Database, changes: ChangeBus) -> None:
        self._database = database
        self._changes = changes
        self._sender = secrets.token_hex(8)
        self._pending: set[str] = set()
        self._has_pending = asyncio.Event()
        self.listening = False
        changes.forward_to(self._enqueue)

    async def publish(self) -> None:
        """Send notifications until cancelled."""
        backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
        while True:
            await self._has_pending.wait()
            self._has_pending.clear()
            request_ids = list(self._pending)
            self._pending.clear()
            try:
                for start in range(0, len(request_ids), _MAX_IDS):
                    ids = ",".join(request_ids[start : start + _MAX_IDS])
                    await self._database.execute(
                        "notify", channel=CHANNEL, payload=f"{self._sender} {ids}"
                    )
            except DatabaseUnavailable:
                # The others resync when they reconnect to the database, unless only this process
                # was disconnected.
                self._pending.update(request_ids)
                self._has_pending.set()
                await backoff.wait()
            await asyncio.sleep(BATCH_INTERVAL)

    async def listen(self, config: DatabaseConfig) -> None:
        """Receive notifications until cancelled."""
        await listen(config, CHANNEL, self._on_notification, self._on_connected, self._on_lost)

    def _enqueue(self, request_ids: list[str]) -> None:
        self._pending.update(request_ids)
        self._has_pending.set()

    def _on_connected(self) -> None:
        self.listening = True
        self._changes.resync()

    def _on_lost(self) -> None:
        self.listening = False

    def _on_notification(self, payload: str) -> None:
        sender, _, request_ids = payload.partition(" ")
        if sender != self._sender:
            self._changes.deliver(request_ids.split(","))
