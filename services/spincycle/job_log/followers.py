"""Wakes the followers of a request's journal when any job log has appended to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

OnPayload = Callable[[str], None]
Listen = Callable[[OnPayload, Callable[[], None]], Awaitable[None]]
"""Listens for notifications until cancelled; takes callbacks for payloads and for connects."""


class Followers:
    """The followers of journals at this job log.

    Listens for notifications only while there are followers; otherwise job logs send none.
    """

    def __init__(self, listen: Listen) -> None:
        self._listen = listen
        self._events: dict[str, set[asyncio.Event]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def following(self, request_id: str) -> Iterator[asyncio.Event]:
        """Return an event that is set whenever there may be new entries to read.

        It is also set when listening starts, since notifications sent before are lost.
        """
        changed = asyncio.Event()
        self._events.setdefault(request_id, set()).add(changed)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen_for_all())
            self._tasks.add(self._listening)
            self._listening.add_done_callback(self._tasks.discard)
        try:
            yield changed
        finally:
            self._events[request_id].discard(changed)
            if not self._events[request_id]:
                del self._events[request_id]
            if not self._events and self._listening is not None:
                self._listening.cancel()
                self._listening = None

    def wake_all(self) -> None:
        """Wake every follower."""
        for events in self._events.values():
            for changed in events:
                changed.set()

    async def close(self) -> None:
        """Stop listening."""
        self._listening = None
        for task in self._tasks:
            # A task that is being cancelled is running its teardown statement.
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen_for_all(self) -> None:
        await self._listen(self._on_payload, self.wake_all)

    def _on_payload(self, payload: str) -> None:
        # An empty payload means that any journal may have new entries.
        if not payload:
            self.wake_all()
            return
        for request_id in payload.split(","):
            for changed in self._events.get(request_id, ()):
                changed.set()
