"""The gRPC service JournalService: internal writes of the journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from spincycle.errors import InvalidInput, NotYours
from spincycle.identity.append_grants import GrantKeys
from spincycle.identity.service_identity import GATEWAY, REQUEST_MANAGER
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceServicer
from spincycle.job_log.append_stream import AppendStream
from spincycle.job_log.entitlement import Entitlement
from spincycle.job_log.entry_ids import check_id
from spincycle.job_log.journal import Journal
from spincycle.job_log.live_output import OutputHub
from spincycle.job_log.window import ByteWindow
from spincycle.rpc.identification import caller
from spincycle.wire.append_grants import decode_grant

ALL_STREAMS_WINDOW = 64 * 1024 * 1024
"""Bytes of entries that may wait for their commit, in all streams together."""

ENTITLED = frozenset({REQUEST_MANAGER, GATEWAY})
"""Services that append entries of any request: gateways do so for the original's job runners, where
that is enabled."""

_INT64_MAX = 2**63 - 1


class JournalService(JournalServiceServicer):
    """Implements JournalService of the contract.

    Args:
        keys: returns the current grant keys; None if callers are not identified.
    """

    def __init__(
        self,
        journal: Journal,
        output: OutputHub,
        keys: Callable[[], GrantKeys] | None = None,
    ) -> None:
        self._journal = journal
        self._output = output
        self._keys = keys
        self._window = ByteWindow(ALL_STREAMS_WINDOW)
        self._streams: set[AppendStream] = set()
        self._ending = False

    async def Append(
        self, request_iterator: AsyncIterator[journal_pb2.AppendRequest], context: Any
    ) -> AsyncIterator[journal_pb2.AppendResponse]:
        stream = AppendStream(self._journal, self._window, self._entitlement())
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
        entitlement = self._entitlement()
        if entitlement is not None:
            request_iterator = _entitled(request_iterator, entitlement)
        async with aclosing(self._output.receive(request_iterator)) as responses:
            async for response in responses:
                yield response

    def _entitlement(self) -> Entitlement | None:
        """Return for which requests the current caller may write; None for all.

        Raises:
            NotYours: it needs grants, and this job log has no keys.
        """
        identity = caller()
        if identity is None or identity.service in ENTITLED:
            return None
        if self._keys is None:
            raise NotYours(str(identity), "any request", "this job log has no grant keys")
        return Entitlement(str(identity), self._keys)

    def end(self) -> None:
        """End the Append streams after acknowledging every batch that was read."""
        self._ending = True
        for stream in self._streams:
            stream.end()


async def _entitled(
    requests: AsyncIterator[journal_pb2.OfferOutputRequest], entitlement: Entitlement
) -> AsyncIterator[journal_pb2.OfferOutputRequest]:
    """Yield the messages of a runner.

    Raises:
        NotYours: it may not pass on a piece of a message, which is not yielded.
    """
    async for request in requests:
        entitlement.check_output(
            map(decode_grant, request.grants), (piece.request_id for piece in request.pieces)
        )
        yield request
