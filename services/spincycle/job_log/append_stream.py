"""One runner's stream of entries: read ahead as far as its window, acknowledge in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from spincycle.errors import InvalidInput, ShuttingDown, StaleEpoch
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.job_log.journal import Batch, Journal
from spincycle.job_log.model import RefusedEntry
from spincycle.job_log.window import ByteWindow
from spincycle.rpc.status import to_message
from spincycle.runtime.off_loop import off_loop
from spincycle.wire.journal import decode_entry

STREAM_WINDOW = 4 * 1024 * 1024
"""Bytes of one stream that may wait for their commit before it is read on."""

_BATCH_SIZE = 200

LARGE = 256 * 1024
"""Bytes of a batch from which it is read in a thread."""

MANY_REFUSED = 1000
"""Refused entries from which an acknowledgement is encoded in a thread."""


class AppendStream:
    """Reads batches and acknowledges them after their commit.

    `shared` bounds what all streams together have under way.
    """

    def __init__(self, journal: Journal, shared: ByteWindow) -> None:
        self._journal = journal
        self._shared = shared
        self._own = ByteWindow(STREAM_WINDOW)
        self._unacknowledged: deque[tuple[int, asyncio.Future[list[RefusedEntry]]]] = deque()
        self._news = asyncio.Event()
        self._ending = False
        self._reader: asyncio.Task[None] | None = None

    async def run(
        self, requests: AsyncIterator[journal_pb2.AppendRequest]
    ) -> AsyncGenerator[journal_pb2.AppendResponse, None]:
        """Take batches until the caller ends the stream; answer acknowledgements.

        Raises:
            InvalidInput: the batches are not numbered 1, 2, 3, ….
            ShuttingDown: `end` was called; what was read before is acknowledged.
        """
        self._reader = asyncio.create_task(self._read(requests))
        self._reader.add_done_callback(lambda _: self._news.set())
        if self._ending:
            self._reader.cancel()
        try:
            while self._unacknowledged or not self._reader.done():
                self._news.clear()
                if self._unacknowledged and self._unacknowledged[0][1].done():
                    yield await self._acknowledgement()
                else:
                    await self._news.wait()
            if not self._ending:
                await self._reader
        finally:
            # What was read is stored all the same: its runner may have died.
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if self._ending:
            raise ShuttingDown("the job log")

    def end(self) -> None:
        """Read no further."""
        self._ending = True
        if self._reader:
            self._reader.cancel()

    async def _read(self, requests: AsyncIterator[journal_pb2.AppendRequest]) -> None:
        expected = 1
        async for request in requests:
            if request.batch != expected:
                raise InvalidInput(
                    f"batch {request.batch} came where batch {expected} was expected; batches "
                    "of a stream are numbered 1, 2, 3, …",
                    "batch",
                )
            expected += 1
            size = _BATCH_SIZE + request.ByteSize()
            await self._own.take(size)
            try:
                await self._shared.take(size)
            except asyncio.CancelledError:
                self._own.give_back(size)
                raise
            try:
                batch = await off_loop(size >= LARGE, partial(self._prepare, request))
            except BaseException:
                self._own.give_back(size)
                self._shared.give_back(size)
                raise
            stored = self._journal.append(batch)
            self._unacknowledged.append((request.batch, stored))
            stored.add_done_callback(partial(self._stored, size))

    def _prepare(self, request: journal_pb2.AppendRequest) -> Batch:
        return self._journal.prepare(decode_entry(entry) for entry in request.entries)

    def _stored(self, size: int, _: asyncio.Future[list[RefusedEntry]]) -> None:
        self._own.give_back(size)
        self._shared.give_back(size)
        self._news.set()

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
