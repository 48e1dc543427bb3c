"""Runner feeds and a store in which nothing happens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.runner_feeds import FeedListener


class NoFeeds:
    """Feeds without a runner."""

    def __init__(self) -> None:
        self.opened = 0

    async def open(self, listener: FeedListener) -> None:
        self.opened += 1

    async def ensure_feeds(self, rows: Iterable[Request]) -> None:
        pass

    async def wait_connected(self) -> None:
        pass

    async def offsets(self) -> dict[str, int]:
        return {}

    def close(self) -> list[asyncio.Task[None]]:
        return []


class UnchangedStore:
    """A store of changes in which nothing changes."""

    async def now(self) -> str:
        return "3:3:"

    async def after(self, seen: str) -> tuple[str, list[Request]]:
        return "3:3:", []
