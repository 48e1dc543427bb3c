"""A job log that blocks its calls and counts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.identities import UNIDENTIFIED

from spincycle.rpc.limits import INTERNAL, PUBLIC
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1 import job_log_service_pb2_grpc

SERVICE = pb.DESCRIPTOR.services_by_name["JobLogService"].full_name
METHOD = f"/{SERVICE}/GetEntry"


class CountingJobLog(job_log_service_pb2_grpc.JobLogServiceServicer):
    """Blocks its calls until `release` is set, and counts the concurrent ones."""

    def __init__(self) -> None:
        self.running = 0
        self.peak = 0
        self.release = asyncio.Event()

    async def GetEntry(self, request: pb.GetEntryRequest, context: object) -> pb.GetEntryResponse:
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await self.release.wait()
        finally:
            self.running -= 1
        return pb.GetEntryResponse()


def request_of(size: int) -> pb.GetEntryRequest:
    request = pb.GetEntryRequest(request_id="r" * size)
    request.request_id = "r" * (2 * size - request.ByteSize())
    assert request.ByteSize() == size
    return request


@asynccontextmanager
async def serving(
    server: RpcServer | None = None, job_log: CountingJobLog | None = None
) -> AsyncIterator[tuple[CountingJobLog, str, str]]:
    """A service whose calls block until released, on both listeners."""
    job_log = job_log or CountingJobLog()
    server = server or RpcServer(check=lambda _, __: None, internal=UNIDENTIFIED)
    register = job_log_service_pb2_grpc.add_JobLogServiceServicer_to_server
    service = RpcService(SERVICE, lambda each: register(job_log, each))
    public = server.listen(PUBLIC, "127.0.0.1:0").serve(service)
    internal = server.listen(INTERNAL, "127.0.0.1:0").serve(service)
    await server.start()
    yield job_log, public.address, internal.address
    job_log.release.set()
    await server.stop(0)
