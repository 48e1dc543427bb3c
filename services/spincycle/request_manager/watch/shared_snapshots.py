"""Snapshots of requests for watchers that catch up: each read and encoded once for all of them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.events import EncodedEvent
from spincycle.request_manager.watch.snapshots import RequestSnapshots
from spincycle.runtime import deadline

KEPT_BYTES = 16 * 1024 * 1024
"""Bytes of events that are kept for the watchers that want them next."""

LARGEST_KEPT = KEPT_BYTES // 4
"""Bytes of the largest event that is kept at all."""

READS_AT_ONCE = 4
"""Portions that are read at once, however many watchers wait for different ones."""

_OVERHEAD_BYTES = 500
"""About what an event takes beside its bytes and those of its request."""

_Key = tuple[Hashable, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A snapshot to be read.

    Attributes:
        row: the request as the snapshot is to show it.
        revision: of the snapshot, which is then read from what is stored and never changes; 0 for
            one of a running request as it is at the moment.
        since: what the watchers have in common that share a snapshot of the moment: it was read
            after all of them had come to this.
    """

    row: Request
    revision: int = 0
    since: Hashable = None

    @property
    def key(self) -> _Key:
        """What the snapshot is kept under."""
        return (self.row.request_id, self.revision, None if self.revision else self.since)


class SharedSnapshots:
    """Reads snapshots, each once for all watchers that want it at about the same time.

    Those that were used last are kept, up to KEPT_BYTES. One that is not kept is read again, so
    that watchers at different places cost time, but no memory. A snapshot is shared only if it
    was made of an equal row.
    """

    def __init__(self, views: RequestSnapshots) -> None:
        self._views = views
        self._kept: OrderedDict[_Key, tuple[Request, EncodedEvent]] = OrderedDict()
        self._size = 0
        self._reads: dict[_Key, _Read] = {}
        self._slots = asyncio.Semaphore(READS_AT_ONCE)

    async def get(self, wanted: Sequence[Wanted]) -> list[EncodedEvent]:
        """Return the snapshots, in the same order.

        Raises what the database or the job log says.
        """
        found = [self._find(one) for one in wanted]
        own = [one for one, there in zip(wanted, found, strict=True) if there is None]
        if own:
            read = self._begin(own)
            found = [read if there is None else there for there in found]
        reads = {id(one): one for one in found if isinstance(one, _Read)}.values()
        for read in reads:
            read.callers += 1
        try:
            for read in reads:
                await asyncio.wait([read.task])
            return [
                there.task.result()[one.key] if isinstance(there, _Read) else there
                for one, there in zip(wanted, found, strict=True)
                if there is not None
            ]
        finally:
            for read in reads:
                self._leave(read)

    def event(self, key: _Key, request: Request, make: Callable[[], EncodedEvent]) -> EncodedEvent:
        """Return an event that is kept under a key, or make it."""
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept[1]
        change = make()
        self._keep(key, request, change)
        return change

    def _find(self, wanted: Wanted) -> EncodedEvent | _Read | None:
        key = wanted.key
        kept = self._kept.get(key)
        if kept is not None and (kept[0] is wanted.row or kept[0] == wanted.row):
            self._kept.move_to_end(key)
            return kept[1]
        read = self._reads.get(key)
        return read if read is not None and read.rows[key] == wanted.row else None

    def _begin(self, wanted: Sequence[Wanted]) -> _Read:
        read = _Read({one.key: one.row for one in wanted})
        read.task = asyncio.create_task(
            self._read(read, wanted), context=deadline.without_deadline()
        )
        for key in read.rows:
            self._reads.setdefault(key, read)
        return read

    async def _read(self, read: _Read, wanted: Sequence[Wanted]) -> dict[_Key, EncodedEvent]:
        try:
            async with self._slots:
                views = await self._views.of_all([(one.row, one.revision) for one in wanted])
            changes: dict[_Key, EncodedEvent] = {}
            for one, view in zip(wanted, views, strict=True):
                changes[one.key] = change = view.snapshot_change(None)
                self._keep(one.key, one.row, change)
            return changes
        finally:
            self._forget(read)

    def _leave(self, read: _Read) -> None:
        read.callers -= 1
        if not read.callers and not read.task.done():
            # At once: a caller that came before the task has ended would be cancelled with it.
            self._forget(read)
            read.task.cancel()

    def _forget(self, read: _Read) -> None:
        for key in read.rows:
            if self._reads.get(key) is read:
                del self._reads[key]

    def _keep(self, key: _Key, request: Request, change: EncodedEvent) -> None:
        size = _size_of(request, change)
        if size > LARGEST_KEPT:
            return
        replaced = self._kept.pop(key, None)
        if replaced is not None:
            self._size -= _size_of(*replaced)
        self._kept[key] = request, change
        self._size += size
        while self._size > KEPT_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._size -= _size_of(*dropped)


class _Read:
    """Snapshots that are being read, and how many callers wait for them."""

    __slots__ = ("callers", "rows", "task")

    def __init__(self, rows: dict[_Key, Request]) -> None:
        self.rows = rows
        self.callers = 0
        self.task: asyncio.Task[dict[_Key, EncodedEvent]]


def _size_of(request: Request, change: EncodedEvent) -> int:
    # An event is held twice: as it is, and as a message.
    return 2 * change.size + len(request.given_args) + _OVERHEAD_BYTES
