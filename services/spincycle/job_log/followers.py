"""Who follows which request's journal, and waking them when some job log has appended to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

Hear = Callable[[str], None]
Listen = Callable[[Hear, Callable[[], None]], Awaitable[None]]
"""Listens until cancelled: calls the first with what was told, the second at each beginning."""


class Followers:
    """Those who follow at this job log.

    It listens only while somebody follows; the appends of all job logs are silent otherwise.
    """

    def __init__(self, listen: Listen) -> None:
        self._listen = listen
        self._news: dict[str, set[asyncio.Event]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def following(self, request_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever there may be something new to read.

        It is set once more when listening begins: what was appended before was not told.
        """
        news = asyncio.Event()
        self._news.setdefault(request_id, set()).add(news)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen_for_all())
            self._tasks.add(self._listening)
            self._listening.add_done_callback(self._tasks.discard)
        try:
            yield news
        finally:
            self._news[request_id].discard(news)
            if not self._news[request_id]:
                del self._news[request_id]
            if not self._news and self._listening is not None:
                self._listening.cancel()
                self._listening = None

    def wake_all(self) -> None:
        """Let everybody look."""
        for events in self._news.values():
            for news in events:
                news.set()

    async def close(self) -> None:
        """End listening."""
        self._listening = None
        for task in self._tasks:
            # One that was told already is taking its name off the list.
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen_for_all(self) -> None:
        await self._listen(self._hear, self.wake_all)

    def _hear(self, told: str) -> None:
        if not told:
            self.wake_all()
            return
        for request_id in told.split(","):
            for news in self._news.get(request_id, ()):
                news.set()
