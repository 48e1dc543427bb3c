"""One who watches: what was told and not taken yet, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from spincycle.errors import SpinCycleError, WatcherTooSlow
from spincycle.request_manager.watch.events import EncodedEvent
from spincycle.v1 import job_output_pb2

MAX_BEHIND = 5_000
"""Events that a watcher may be behind."""

MAX_BYTES_BEHIND = 4 * 1024 * 1024
"""Bytes of events that a watcher may be behind."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place among the changes from which a stream of all requests can be taken up again."""

    cursor: str


@dataclass(frozen=True, slots=True)
class JobOutputChunk:
    """Output of a running job, on its way to one watcher."""

    piece: job_output_pb2.JobOutput


class SubscriberQueue:
    """A queue of changes; who falls behind is cut, and holds nothing from then on."""

    __slots__ = ("_changes", "_failure", "_size", "_something")

    def __init__(self) -> None:
        self._changes: list[EncodedEvent | Checkpoint | JobOutputChunk] = []
        self._size = 0
        self._something = asyncio.Event()
        self._failure: SpinCycleError | None = None

    def put(self, change: EncodedEvent) -> None:
        """Add a change; beyond the limit all of them are dropped and the watcher is cut."""
        if self._failure is not None:
            return
        self._changes.append(change)
        self._size += change.size
        if len(self._changes) > MAX_BEHIND or self._size > MAX_BYTES_BEHIND:
            self.end(WatcherTooSlow(MAX_BEHIND))
        self._something.set()

    def put_output(self, piece: job_output_pb2.JobOutput) -> None:
        """Add output, or drop it if the watcher is half way to being cut: its offset tells."""
        if self._failure is None and self._size < MAX_BYTES_BEHIND // 2:
            self._changes.append(JobOutputChunk(piece))
            self._size += len(piece.data)
            self._something.set()

    def mark(self, mark: Checkpoint) -> None:
        """Put a mark where the queue ends now."""
        if self._failure is None:
            self._changes.append(mark)
            self._something.set()

    def clear(self) -> None:
        """Drop what was not taken."""
        self._changes, self._size = [], 0

    def end(self, failure: SpinCycleError) -> None:
        """Let the stream end with a failure; what was not taken is dropped."""
        self._failure = self._failure or failure
        self._changes.clear()
        self._something.set()

    async def batches(self) -> AsyncIterator[list[EncodedEvent | Checkpoint | JobOutputChunk]]:
        """Changes as they come, all that wait at once.

        Raises:
            SpinCycleError: the watcher was cut, or nothing can be told any more.
        """
        while True:
            await self._something.wait()
            self._something.clear()
            if self._failure is not None:
                raise self._failure
            changes, self._changes, self._size = self._changes, [], 0
            if changes:
                yield changes
