"""The bounded queue of events for one subscriber."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from spincycle.errors import SpinCycleError, WatcherTooSlow
from spincycle.request_manager.watch.events import EncodedEvent
from spincycle.v1 import job_output_pb2

MAX_BEHIND = 5_000
"""Most events that a subscriber may have yet to receive."""

MAX_BYTES_BEHIND = 4 * 1024 * 1024
"""Most bytes of events that a subscriber may have yet to receive."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place between events from which a stream of all requests can be resumed."""

    cursor: str


@dataclass(frozen=True, slots=True)
class JobOutputChunk:
    """Output of a running job."""

    output: job_output_pb2.JobOutput


QueueItem = EncodedEvent | Checkpoint | JobOutputChunk


class SubscriberQueue:
    """Holds the events for one subscriber; disconnects a subscriber that falls behind.

    After a disconnect the queue is empty and accepts nothing more.
    """

    __slots__ = ("_failure", "_items", "_ready", "_size")

    def __init__(self) -> None:
        self._items: list[QueueItem] = []
        self._size = 0
        self._ready = asyncio.Event()
        self._failure: SpinCycleError | None = None

    def put(self, event: EncodedEvent) -> None:
        """Add an event; beyond the limits, drop the whole queue and disconnect the subscriber."""
        if self._failure is not None:
            return
        self._items.append(event)
        self._size += event.size
        if len(self._items) > MAX_BEHIND or self._size > MAX_BYTES_BEHIND:
            self.disconnect(WatcherTooSlow(MAX_BEHIND))
        self._ready.set()

    def put_output(self, output: job_output_pb2.JobOutput) -> None:
        """Add output, or drop it if the queue is half full; its offset shows the gap."""
        if self._failure is None and self._size < MAX_BYTES_BEHIND // 2:
            self._items.append(JobOutputChunk(output))
            self._size += len(output.data)
            self._ready.set()

    def put_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint."""
        if self._failure is None:
            self._items.append(checkpoint)
            self._ready.set()

    def clear(self) -> None:
        """Drop the queued items."""
        self._items, self._size = [], 0

    def disconnect(self, failure: SpinCycleError) -> None:
        """Drop the queued items and end the stream with a failure."""
        self._failure = self._failure or failure
        self._items.clear()
        self._ready.set()

    async def batches(self) -> AsyncIterator[list[QueueItem]]:
        """Yield all queued items whenever there are any.

        Raises:
            SpinCycleError: the subscriber was disconnected.
        """
        while True:
            await self._ready.wait()
            self._ready.clear()
            if self._failure is not None:
                raise self._failure
            items, self._items, self._size = self._items, [], 0
            if items:
                yield items
