"""A service whose streams stay open, and which counts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from tests.identities import UNIDENTIFIED
from tests.integration.rpc.conftest import SERVICE

from spincycle.rpc.limits import (
    PUBLIC,
    SERVER_KEEPALIVE,
    Audience,
    Keepalive,
)
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1.job_log_service_pb2_grpc import (
    JobLogServiceServicer,
    add_JobLogServiceServicer_to_server,
)


class Watched(JobLogServiceServicer):
    """A stream that waits forever."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def Tail(
        self, request: pb.TailRequest, context: object
    ) -> AsyncIterator[pb.TailResponse]:
        yield pb.TailResponse()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


@asynccontextmanager
async def watched(
    audience: Audience = PUBLIC, keepalive: Keepalive = SERVER_KEEPALIVE
) -> AsyncIterator[tuple[Watched, str]]:
    server, service = RpcServer(keepalive=keepalive, internal=UNIDENTIFIED), Watched()
    listener = server.listen(audience, "127.0.0.1:0").serve(
        RpcService(SERVICE, partial(add_JobLogServiceServicer_to_server, service))
    )
    await server.start()
    try:
        yield service, listener.address
    finally:
        await server.stop(0)
