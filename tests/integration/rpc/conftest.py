"""A server on a real socket, with a job log service controlled by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import pytest
from tests.identities import UNIDENTIFIED

from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import (
    JournalServiceServicer,
    add_JournalServiceServicer_to_server,
)
from spincycle.rpc.channel import open_channel
from spincycle.rpc.limits import INTERNAL
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1.job_log_service_pb2_grpc import (
    JobLogServiceServicer,
    JobLogServiceStub,
    add_JobLogServiceServicer_to_server,
)

SERVICE = "spincycle.v1.JobLogService"
JOURNAL = "spincycle.internal.v1.JournalService"


class SaidJobLog(JobLogServiceServicer, JournalServiceServicer):
    """Implements only GetEntry and Tail, with responses set by the test."""

    get: Callable[[], Awaitable[pb.GetEntryResponse]]
    tail: list[pb.TailResponse]
    failure: BaseException | None = None
    batches: list[int]

    def __init__(self) -> None:
        self.batches = []

    async def GetEntry(self, request: Any, context: Any) -> pb.GetEntryResponse:
        if self.failure:
            raise self.failure
        return await self.get()

    async def Tail(self, request: Any, context: Any) -> AsyncIterator[pb.TailResponse]:
        for answer in self.tail:
            yield answer
        if self.failure:
            raise self.failure

    async def Append(
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[journal_pb2.AppendResponse]:
        async for request in request_iterator:
            self.batches.append(request.batch)
            yield journal_pb2.AppendResponse(batch=request.batch)


@dataclass
class Served:
    server: RpcServer
    address: str
    channel: grpc.aio.Channel
    job_log: SaidJobLog
    stub: JobLogServiceStub = field(init=False)

    def __post_init__(self) -> None:
        self.stub = JobLogServiceStub(self.channel)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    server = RpcServer(internal=UNIDENTIFIED)
    job_log = SaidJobLog()
    listener = server.listen(INTERNAL, "127.0.0.1:0")
    listener.serve(
        RpcService(SERVICE, partial(add_JobLogServiceServicer_to_server, job_log)),
        RpcService(JOURNAL, partial(add_JournalServiceServicer_to_server, job_log)),
    )
    await server.start()
    async with open_channel(listener.address) as channel:
        yield Served(server, listener.address, channel, job_log)
    await server.stop(0)
