"""Telling the other request managers what this one changes, and hearing what they change."""

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
"""Notifications that tell which requests changed."""

RETRY_INTERVAL = 1.0
"""Seconds before changes that could not be told are told again."""

PAUSE = 0.02
"""Seconds from one notification to the next: changes that come meanwhile go together."""

_IDS_AT_ONCE = 300
"""A notification holds less than 8000 bytes, and an id has 20."""


class ChangeNotifier:
    """Notifications between request managers. What this process told itself it does not hear.

    Attributes:
        hears: whether what the others tell arrives here.
    """

    def __init__(self, database: Database, changes: ChangeBus) -> None:
        self._database = database
        self._changes = changes
        self._name = secrets.token_hex(8)
        self._pending: set[str] = set()
        self._something = asyncio.Event()
        self.hears = False
        changes.tell_others(self._tell)

    async def tell(self) -> None:
        """Tell the others, until cancelled."""
        backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
        while True:
            await self._something.wait()
            self._something.clear()
            request_ids = list(self._pending)
            self._pending.clear()
            try:
                for start in range(0, len(request_ids), _IDS_AT_ONCE):
                    some = ",".join(request_ids[start : start + _IDS_AT_ONCE])
                    await self._database.execute(
                        "notify", channel=CHANNEL, payload=f"{self._name} {some}"
                    )
            except DatabaseUnavailable:
                # The others look for themselves when they hear the database again, unless it
                # was only this process that did not reach it.
                self._pending.update(request_ids)
                self._something.set()
                await backoff.wait()
            await asyncio.sleep(PAUSE)

    async def hear(self, config: DatabaseConfig) -> None:
        """Hear the others, until cancelled."""
        await listen(config, CHANNEL, self._heard, self._began, self._lost)

    def _tell(self, request_ids: list[str]) -> None:
        self._pending.update(request_ids)
        self._something.set()

    def _began(self) -> None:
        self.hears = True
        self._changes.nothing_heard()

    def _lost(self) -> None:
        self.hears = False

    def _heard(self, payload: str) -> None:
        name, _, request_ids = payload.partition(" ")
        if name != self._name:
            self._changes.heard(request_ids.split(","))
