"""Snapshots that subscribers share: each is read and encoded once for all of them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.events import EncodedEvent
from spincycle.request_manager.watch.snapshots import RequestSnapshots
from spincycle.runtime import deadline

CACHE_BYTES = 16 * 1024 * 1024
"""Size of the cache, in bytes."""

MAX_CACHED_BYTES = CACHE_BYTES // 4
"""Size of the largest event that is cached, in bytes."""

CONCURRENT_READS = 4
"""Most reads at a time, for all subscribers together."""

_OVERHEAD_BYTES = 500
"""Approximate memory of a cached event in addition to its bytes and those of its request."""

_Key = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class SnapshotKey:
    """Identifies a snapshot.

    Attributes:
        row: the request as the snapshot shows it.
        revision: revision of a stored snapshot, which never changes; 0 for the current snapshot
            of a running request.
        since: for a current snapshot, the point that precedes its read; equal for all
            subscribers that may share it.
    """

    row: Request
    revision: int = 0
    since: Hashable = None

    @property
    def cache_key(self) -> _Key:
        """The key in the cache."""
        return (self.row.request_id, self.revision, None if self.revision else self.since)


class SharedSnapshots:
    """Reads snapshots, one read for all subscribers that need the same ones concurrently.

    The most recently used ones are cached, up to CACHE_BYTES. Others are read again, so that
    subscribers at different places cost time, but no memory. A snapshot is shared only between
    subscribers that have equal rows of the request.
    """

    def __init__(self, snapshots: RequestSnapshots) -> None:
        self._snapshots = snapshots
        self._cache: OrderedDict[_Key, tuple[Request, EncodedEvent]] = OrderedDict()
        self._size = 0
        self._reads: dict[_Key, _Read] = {}
        self._slots = asyncio.Semaphore(CONCURRENT_READS)

    async def get(self, keys: Sequence[SnapshotKey]) -> list[EncodedEvent]:
        """Return the snapshots as events, in order.

        Raises:
            DatabaseUnavailable, ServiceUnavailable: they cannot be read.
        """
        found = [self._find(key) for key in keys]
        missing = [key for key, event in zip(keys, found, strict=True) if event is None]
        if missing:
            read = self._start(missing)
            found = [read if event is None else event for event in found]
        reads = {id(one): one for one in found if isinstance(one, _Read)}.values()
        for read in reads:
            read.callers += 1
        try:
            for read in reads:
                await asyncio.wait([read.task])
            return [
                event.task.result()[key.cache_key] if isinstance(event, _Read) else event
                for key, event in zip(keys, found, strict=True)
                if event is not None
            ]
        finally:
            for read in reads:
                self._leave(read)

    def event(self, key: _Key, request: Request, make: Callable[[], EncodedEvent]) -> EncodedEvent:
        """Return the event cached under a key, or make and cache it."""
        cached = self._cache.get(key)
        if cached is not None:
            self._cache.move_to_end(key)
            return cached[1]
        event = make()
        self._store(key, request, event)
        return event

    def _find(self, wanted: SnapshotKey) -> EncodedEvent | _Read | None:
        key = wanted.cache_key
        cached = self._cache.get(key)
        if cached is not None and (cached[0] is wanted.row or cached[0] == wanted.row):
            self._cache.move_to_end(key)
            return cached[1]
        read = self._reads.get(key)
        return read if read is not None and read.rows[key] == wanted.row else None

    def _start(self, keys: Sequence[SnapshotKey]) -> _Read:
        read = _Read({key.cache_key: key.row for key in keys})
        read.task = asyncio.create_task(self._read(read, keys), context=deadline.without_deadline())
        for key in read.rows:
            self._reads.setdefault(key, read)
        return read

    async def _read(self, read: _Read, keys: Sequence[SnapshotKey]) -> dict[_Key, EncodedEvent]:
        try:
            async with self._slots:
                snapshots = await self._snapshots.at_revisions(
                    [(key.row, key.revision) for key in keys]
                )
            events: dict[_Key, EncodedEvent] = {}
            for key, snapshot in zip(keys, snapshots, strict=True):
                events[key.cache_key] = event = snapshot.as_event(None)
                self._store(key.cache_key, key.row, event)
            return events
        finally:
            self._forget(read)

    def _leave(self, read: _Read) -> None:
        read.callers -= 1
        if not read.callers and not read.task.done():
            # Forget it now: a caller that joined before the task ends would be cancelled with it.
            self._forget(read)
            read.task.cancel()

    def _forget(self, read: _Read) -> None:
        for key in read.rows:
            if self._reads.get(key) is read:
                del self._reads[key]

    def _store(self, key: _Key, request: Request, event: EncodedEvent) -> None:
        size = _size_of(request, event)
        if size > MAX_CACHED_BYTES:
            return
        replaced = self._cache.pop(key, None)
        if replaced is not None:
            self._size -= _size_of(*replaced)
        self._cache[key] = request, event
        self._size += size
        while self._size > CACHE_BYTES:
            _, dropped = self._cache.popitem(last=False)
            self._size -= _size_of(*dropped)


class _Read:
    """A read in progress, and the number of callers that wait for it."""

    __slots__ = ("callers", "rows", "task")

    def __init__(self, rows: dict[_Key, Request]) -> None:
        self.rows = rows
        self.callers = 0
        self.task: asyncio.Task[dict[_Key, EncodedEvent]]


def _size_of(request: Request, event: EncodedEvent) -> int:
    # An event is held twice: encoded, and as a message.
    return 2 * event.size + len(request.given_args) + _OVERHEAD_BYTES
