"""The gRPC service JournalService: internal writes of the journal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from spincycle.errors import InvalidInput
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceServicer
from spincycle.job_log.append_stream import AppendStream
from spincycle.job_log.entry_ids import check_id
from spincycle.job_log.journal import Journal
from spincycle.job_log.live_output import OutputHub
from spincycle.job_log.window import ByteWindow

ALL_STREAMS_WINDOW = 64 * 1024 * 1024
"""Bytes of entries that may wait for their commit, in all streams together."""

_INT64_MAX = 2**63 - 1


class JournalService(JournalServiceServicer):
    """Implements JournalService of the contract."""

    def __init__(self, journal: Journal, output: OutputHub) -> None:
        self._journal = journal
        self._output = output
        self._window = ByteWindow(ALL_STREAMS_WINDOW)
        self._streams: set[AppendStream] = set()
        self._ending = False

    async def Append(
        self, request_iterator: AsyncIterator[journal_pb2.AppendRequest], context: Any
    ) -> AsyncIterator[journal_pb2.AppendResponse]:
        stream = AppendStream(self._journal, self._window)
        self._streams.add(stream)
        if self._ending:
            stream.end()
        try:
            async with aclosing(stream.run(request_iterator)) as responses:
                async for response in responses:
                    yield response
        finally:
            self._streams.discard(stream)

    async def Fence(
        self, request: journal_pb2.FenceRequest, context: Any
    ) -> journal_pb2.FenceResponse:
        epochs: dict[str, int] = {}
        for index, fence in enumerate(request.fences):
            check_id(fence.request_id, f"fences[{index}].request_id")
            if fence.epoch > _INT64_MAX:
                raise InvalidInput(
                    f"epoch {fence.epoch} is out of range; it must be below 2^63",
                    f"fences[{index}].epoch",
                )
            epochs[fence.request_id] = max(fence.epoch, epochs.get(fence.request_id, 0))
        higher = await self._journal.fence(epochs) if epochs else {}
        return journal_pb2.FenceResponse(
            higher=[
                journal_pb2.EpochFence(request_id=id_, epoch=epoch) for id_, epoch in higher.items()
            ]
        )

    async def OfferOutput(
        self, request_iterator: AsyncIterator[journal_pb2.OfferOutputRequest], context: Any
    ) -> AsyncIterator[journal_pb2.OfferOutputResponse]:
        async with aclosing(self._output.receive(request_iterator)) as responses:
            async for response in responses:
                yield response

    def end(self) -> None:
        """End the Append streams after acknowledging every batch that was read."""
        self._ending = True
        for stream in self._streams:
            stream.end()
