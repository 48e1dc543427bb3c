"""One runner's stream of entries: read ahead as far as its window, acknowledge in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from spincycle.errors import InvalidInput, ShuttingDown, StaleEpoch
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.job_log.journal import Journal
from spincycle.job_log.model import Refused
from spincycle.job_log.window import Window
from spincycle.rpc.status import to_message
from spincycle.wire.journal import decode_entry

STREAM_WINDOW = 4 * 1024 * 1024
"""Bytes of one stream that may wait for their commit before it is read on."""

_BATCH_SIZE = 200


class AppendStream:
    """Reads batches and acknowledges them after their commit.

    `shared` bounds what all streams together have under way.
    """

    def __init__(self, journal: Journal, shared: Window) -> None:
        self._journal = journal
        self._shared = shared
        self._own = Window(STREAM_WINDOW)
        self._unacknowledged: deque[tuple[int, asyncio.Future[list[Refused]]]] = deque()
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
                    yield self._acknowledgement()
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
            stored = self._journal.append([decode_entry(entry) for entry in request.entries])
            self._unacknowledged.append((request.batch, stored))
            stored.add_done_callback(partial(self._stored, size))

    def _stored(self, size: int, _: asyncio.Future[list[Refused]]) -> None:
        self._own.give_back(size)
        self._shared.give_back(size)
        self._news.set()

    def _acknowledgement(self) -> journal_pb2.AppendResponse:
        response = journal_pb2.AppendResponse()
        while self._unacknowledged and self._unacknowledged[0][1].done():
            response.batch, stored = self._unacknowledged.popleft()
            response.refused.extend(map(_refused, stored.result()))
        return response


def _refused(entry: Refused) -> journal_pb2.RefusedEntry:
    message = journal_pb2.RefusedEntry(
        request_id=entry.request_id, job_id=entry.job_id, error=to_message(entry.error)
    )
    setattr(message, "try", entry.try_)
    if isinstance(entry.error, StaleEpoch):
        message.current_epoch = entry.error.current
    return message
