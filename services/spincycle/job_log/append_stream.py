"""One caller's stream of entries: reads ahead within a window and acknowledges in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from spincycle.errors import InvalidInput, ShuttingDown, StaleEpoch
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.job_log.entitlement import Entitlement
from spincycle.job_log.journal import Batch, Journal
from spincycle.job_log.model import RefusedEntry
from spincycle.job_log.window import ByteWindow
from spincycle.rpc.status import to_message
from spincycle.runtime.off_loop import off_loop
from spincycle.wire.append_grants import decode_grant
from spincycle.wire.journal import decode_entry

STREAM_WINDOW = 4 * 1024 * 1024
"""Bytes of one stream that may wait for their commit; then reading pauses."""

_BATCH_SIZE = 200

LARGE = 256 * 1024
"""Bytes of a batch from which it is decoded in a thread."""

MANY_REFUSED = 1000
"""Refused entries from which an acknowledgement is encoded in a thread."""


class AppendStream:
    """Reads batches and acknowledges each after its commit.

    Args:
        shared: limits the uncommitted bytes of all streams together.
        entitlement: what the caller may append; None for everything.
    """

    def __init__(
        self, journal: Journal, shared: ByteWindow, entitlement: Entitlement | None
    ) -> None:
        self._journal = journal
        self._shared = shared
        self._entitlement = entitlement
        self._own = ByteWindow(STREAM_WINDOW)
        self._unacknowledged: deque[tuple[int, asyncio.Future[list[RefusedEntry]]]] = deque()
        self._changed = asyncio.Event()
        self._ending = False
        self._reader: asyncio.Task[None] | None = None

    async def run(
        self, requests: AsyncIterator[journal_pb2.AppendRequest]
    ) -> AsyncGenerator[journal_pb2.AppendResponse, None]:
        """Read batches until the caller ends the stream; yield acknowledgements.

        Raises:
            InvalidInput: the batches are not numbered 1, 2, 3, ….
            NotYours: the caller may not append an entry; nothing of its batch is stored, and all
                batches before are acknowledged.
            ShuttingDown: `end` was called; all batches read before are acknowledged.
        """
        self._reader = asyncio.create_task(self._read(requests))
        self._reader.add_done_callback(lambda _: self._changed.set())
        if self._ending:
            self._reader.cancel()
        try:
            while self._unacknowledged or not self._reader.done():
                self._changed.clear()
                if self._unacknowledged and self._unacknowledged[0][1].done():
                    yield await self._acknowledgement()
                else:
                    await self._changed.wait()
            if not self._ending:
                await self._reader
        finally:
            # Batches that were read are stored even if the runner has died.
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if self._ending:
            raise ShuttingDown("the job log")

    def end(self) -> None:
        """Stop reading batches."""
        self._ending = True
        if self._reader:
            self._reader.cancel()

    async def _read(self, requests: AsyncIterator[journal_pb2.AppendRequest]) -> None:
        expected = 1
        async for request in requests:
            if request.batch != expected:
                raise InvalidInput(
                    f"expected batch {expected}, but received batch {request.batch}; number the "
                    "batches of a stream 1, 2, 3, …",
                    "batch",
                )
            expected += 1
            size = _BATCH_SIZE + request.ByteSize()
            await self._own.acquire(size)
            try:
                await self._shared.acquire(size)
            except asyncio.CancelledError:
                self._own.release(size)
                raise
            try:
                batch = await off_loop(size >= LARGE, partial(self._prepare, request))
            except BaseException:
                self._own.release(size)
                self._shared.release(size)
                raise
            stored = self._journal.append(batch)
            self._unacknowledged.append((request.batch, stored))
            stored.add_done_callback(partial(self._on_stored, size))

    def _prepare(self, request: journal_pb2.AppendRequest) -> Batch:
        if self._entitlement is None:
            return self._journal.prepare(decode_entry(entry) for entry in request.entries)
        self._entitlement.show(map(decode_grant, request.grants))
        entries = [decode_entry(entry) for entry in request.entries]
        self._entitlement.check((entry.request_id, entry.epoch) for entry in entries)
        return self._journal.prepare(entries)

    def _on_stored(self, size: int, _: asyncio.Future[list[RefusedEntry]]) -> None:
        self._own.release(size)
        self._shared.release(size)
        self._changed.set()

    async def _acknowledgement(self) -> journal_pb2.AppendResponse:
        number = 0
        refused: list[RefusedEntry] = []
        while self._unacknowledged and self._unacknowledged[0][1].done():
            number, stored = self._unacknowledged.popleft()
            refused += stored.result()
        return await off_loop(
            len(refused) >= MANY_REFUSED,
            lambda: journal_pb2.AppendResponse(batch=number, refused=map(_refused, refused)),
        )


def _refused(entry: RefusedEntry) -> journal_pb2.RefusedEntry:
    message = journal_pb2.RefusedEntry(
        request_id=entry.request_id, job_id=entry.job_id, error=to_message(entry.error)
    )
    message.try_number = entry.try_
    if isinstance(entry.error, StaleEpoch):
        message.current_epoch = entry.error.current
    return message
