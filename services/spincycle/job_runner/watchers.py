"""Whoever watches jobs: events are handed on, and a watcher that does not keep up is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from spincycle.errors import WatcherTooSlow
from spincycle.job_status import JobEvent

MAX_BEHIND = 5000
"""Events that a watcher may be behind."""


class Watcher:
    """Events that one watcher has not taken yet."""

    def __init__(self) -> None:
        self._events: list[JobEvent] = []
        self._something = asyncio.Event()
        self._cut = False

    def put(self, event: JobEvent) -> None:
        """Add an event; beyond the limit all of them are dropped and the watcher is cut."""
        if len(self._events) >= MAX_BEHIND:
            self._cut = True
            self._events.clear()
        if not self._cut:
            self._events.append(event)
        self._something.set()

    async def batches(self) -> AsyncIterator[Sequence[JobEvent]]:
        """Events as they come, all that wait at once.

        Raises:
            WatcherTooSlow: the watcher was cut.
        """
        while True:
            await self._something.wait()
            self._something.clear()
            if self._cut:
                raise WatcherTooSlow(MAX_BEHIND)
            events, self._events = self._events, []
            if events:
                yield events


class Watchers:
    """Hands events to those who watch the request, and to those who watch all."""

    def __init__(self) -> None:
        self._of_one: dict[str, set[Watcher]] = {}
        self._of_all: set[Watcher] = set()

    def publish(self, event: JobEvent) -> None:
        """Pass a change on."""
        for watcher in self._of_one.get(event.job.request_id, ()):
            watcher.put(event)
        for watcher in self._of_all:
            watcher.put(event)

    def add(self, watcher: Watcher, request_ids: Sequence[str]) -> None:
        """Let a watcher watch the named requests, or all if none is named."""
        if not request_ids:
            self._of_all.add(watcher)
        for request_id in request_ids:
            self._of_one.setdefault(request_id, set()).add(watcher)

    def remove(self, watcher: Watcher, request_ids: Sequence[str]) -> None:
        """Take back what `add` was told."""
        self._of_all.discard(watcher)
        for request_id in request_ids:
            watchers = self._of_one.get(request_id, set())
            watchers.discard(watcher)
            if not watchers:
                self._of_one.pop(request_id, None)
