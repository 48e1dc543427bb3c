"""gRPC client of the job log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import grpc

from spincycle.errors import ServiceUnavailable, SpinCycleError
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.revision import FREE_EPOCHS
from spincycle.rpc.channel import Dial, open_channel
from spincycle.rpc.status import from_message, from_rpc_error
from spincycle.runtime import deadline
from spincycle.v1 import job_log_pb2, job_log_service_pb2, job_log_service_pb2_grpc, job_output_pb2
from spincycle.wire.journal import decode_entry, encode_entry

SERVICE = "job log"

NO_ENTRIES = 2**63 - 1
"""Position after all entries of any journal."""

BATCH = 500
"""Most entries in a batch."""

BATCH_BYTES = 4 * 1024 * 1024
"""Bytes after which no further entry is added to a batch."""

FENCES_AT_ONCE = 200
"""Most epochs by which one call raises a fence beyond FREE_EPOCHS; takes a fraction of a second."""

ENTRIES_A_SECOND = 1000
"""Entries that the job log appends in a second, at the very least."""


class JobLogClient:
    """Calls the job log; every method raises the error of the job log or of the connection."""

    def __init__(self, address: str, timeout: float = 10.0, dial: Dial = open_channel) -> None:
        self._address = address
        self._timeout = timeout
        self._channel = dial(address)
        self._reads = job_log_service_pb2_grpc.JobLogServiceStub(self._channel)
        self._writes = JournalServiceStub(self._channel)

    async def fence(self, request_id: str, epoch: int) -> int:
        """Raise the fence of a journal, so that lower epochs are refused; return its epoch.

        The epoch returned may be higher than `epoch`. It is lower if further calls are needed:
        beyond FREE_EPOCHS the job log raises the fence by one epoch at a time.
        """
        if epoch <= FREE_EPOCHS:
            return await self._fence_one(request_id, epoch)
        in_force = await self._fence_one(request_id, FREE_EPOCHS)
        for _ in range(FENCES_AT_ONCE):
            if in_force >= epoch:
                break
            in_force = await self._fence_one(request_id, in_force + 1)
        return in_force

    async def fence_all(self, epochs: Mapping[str, int]) -> None:
        """Raise the fences of several journals, given the epochs by request id.

        One call does for all epochs up to FREE_EPOCHS. A fence beyond may stay too low by more
        than FENCES_AT_ONCE.
        """
        await self._fence({id_: min(epoch, FREE_EPOCHS) for id_, epoch in epochs.items()})
        for request_id, epoch in epochs.items():
            if epoch > FREE_EPOCHS:
                await self.fence(request_id, epoch)

    async def epoch_in_force(self, request_id: str) -> int:
        """Return the lowest epoch whose entries the journal accepts; 0 without a fence."""
        return await self._fence_one(request_id, 0)

    async def _fence_one(self, request_id: str, epoch: int) -> int:
        higher = await self._fence({request_id: epoch})
        return higher.get(request_id, epoch)

    async def _fence(self, epochs: Mapping[str, int]) -> dict[str, int]:
        """Raise fences; return those in force that are higher."""
        request = journal_pb2.FenceRequest(
            fences=[
                journal_pb2.EpochFence(request_id=request_id, epoch=epoch)
                for request_id, epoch in epochs.items()
            ]
        )
        try:
            response = await self._writes.Fence(request, timeout=deadline.remaining(self._timeout))
        except grpc.aio.AioRpcError as failure:
            raise self._error(failure)
        return {fence.request_id: fence.epoch for fence in response.higher}

    async def entries(
        self, request_id: str, *, without_output: bool
    ) -> AsyncIterator[job_log_pb2.JobLog]:
        """Yield the journal of a request in order of position."""
        request = job_log_service_pb2.ListEntriesRequest(
            request_id=request_id,
            order=job_log_service_pb2.ENTRY_ORDER_POSITION,
            include_output=not without_output,
            include_data=not without_output,
        )
        while True:
            try:
                response = await self._reads.ListEntries(
                    request, timeout=deadline.remaining(self._timeout)
                )
            except grpc.aio.AioRpcError as failure:
                raise self._error(failure)
            for entry in response.entries:
                yield entry
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def tail(self, request_id: str, after: int) -> AsyncIterator[job_log_pb2.JobLog]:
        """Yield the journal of a request after a position, without output and data."""
        request = job_log_service_pb2.TailRequest(request_id=request_id, after_position=after)
        try:
            async for response in self._reads.Tail(request, timeout=self._timeout):
                for event in response.events:
                    yield event.entry
        except grpc.aio.AioRpcError as failure:
            raise self._error(failure)

    async def output(self, request_id: str) -> AsyncIterator[job_output_pb2.JobOutput]:
        """Yield the output of running jobs of a request, until cancelled."""
        request = job_log_service_pb2.TailRequest(
            request_id=request_id, after_position=NO_ENTRIES, follow=True, include_live_output=True
        )
        try:
            async for response in self._reads.Tail(request):
                for event in response.events:
                    yield event.output
        except grpc.aio.AioRpcError as failure:
            raise self._error(failure)

    async def read(self, request_id: str) -> list[JournalEntry]:
        """Return the journal of a request in order of position."""
        return [
            decode_entry(entry) async for entry in self.entries(request_id, without_output=False)
        ]

    async def append(self, entries: Sequence[JournalEntry]) -> None:
        """Store entries of one request; they are committed when this returns.

        Raises:
            RemoteError: the job log refused one.
        """
        if not entries:
            return
        batches = _batches(entries)
        call = self._writes.Append(
            iter(batches),
            timeout=deadline.remaining(self._timeout + len(entries) / ENTRIES_A_SECOND),
        )
        try:
            async for response in call:
                if response.refused:
                    raise from_message(response.refused[0].error)
                if response.batch >= len(batches):
                    return
        except grpc.aio.AioRpcError as failure:
            raise self._error(failure)
        finally:
            call.cancel()
        raise ServiceUnavailable(SERVICE, self._address)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    def _error(self, failure: grpc.aio.AioRpcError) -> SpinCycleError:
        return from_rpc_error(failure, SERVICE, self._address)


def _batches(entries: Sequence[JournalEntry]) -> list[journal_pb2.AppendRequest]:
    batches: list[journal_pb2.AppendRequest] = []
    size = BATCH_BYTES
    for entry in entries:
        if size >= BATCH_BYTES or len(batches[-1].entries) == BATCH:
            batches.append(journal_pb2.AppendRequest(batch=len(batches) + 1))
            size = 0
        message = encode_entry(entry)
        batches[-1].entries.append(message)
        size += message.ByteSize()
    return batches
