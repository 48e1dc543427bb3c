"""What the request manager asks of the job log."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from spincycle.errors import SpinCycleError
from spincycle.rpc.channel import open_channel
from spincycle.rpc.status import from_rpc_error
from spincycle.v1 import job_log_pb2, job_log_service_pb2, job_log_service_pb2_grpc

SERVICE = "job log"


class JobLogClient:
    """Speaks with the job log; every method raises what the job log or the way to it says."""

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        self._address = address
        self._timeout = timeout
        self._channel = open_channel(address)
        self._stub = job_log_service_pb2_grpc.JobLogServiceStub(self._channel)

    async def fence(self, request_id: str, epoch: int) -> None:
        """Let only entries of this epoch or a higher one be journalled from now on."""
        request = job_log_service_pb2.FenceRequest(
            fences=[job_log_service_pb2.EpochFence(request_id=request_id, epoch=epoch)]
        )
        try:
            await self._stub.Fence(request, timeout=self._timeout)
        except grpc.aio.AioRpcError as failure:
            raise self._error(failure)

    async def entries(
        self, request_id: str, *, without_output: bool
    ) -> AsyncIterator[job_log_pb2.JobLog]:
        """The journal of a request in order of position."""
        request = job_log_service_pb2.ListEntriesRequest(
            request_id=request_id,
            order=job_log_service_pb2.ENTRY_ORDER_POSITION,
            without_output=without_output,
        )
        while True:
            try:
                response = await self._stub.ListEntries(request, timeout=self._timeout)
            except grpc.aio.AioRpcError as failure:
                raise self._error(failure)
            for entry in response.entries:
                yield entry
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    def _error(self, failure: grpc.aio.AioRpcError) -> SpinCycleError:
        return from_rpc_error(failure, SERVICE, self._address)
