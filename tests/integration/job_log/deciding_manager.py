"""A request manager that decides who may read journals as a test says, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from tests.identities import UNIDENTIFIED

from spincycle.internal.v1 import read_access_service_pb2 as pb
from spincycle.internal.v1.read_access_service_pb2_grpc import (
    ReadAccessServiceServicer,
    add_ReadAccessServiceServicer_to_server,
)
from spincycle.rpc.limits import INTERNAL
from spincycle.rpc.server import RpcServer, RpcService


class DecidingManager(ReadAccessServiceServicer):
    """Serves AuthorizeRead.

    Attributes:
        viewable: requests that a caller may view, by its name.
        calls: the calls so far.
        answering: unset to hold answers back.
        failure: raised instead of an answer.
    """

    def __init__(self) -> None:
        self.viewable: dict[str, set[str]] = {}
        self.calls: list[pb.AuthorizeReadRequest] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.failure: Exception | None = None
        self.address = ""

    async def AuthorizeRead(
        self, request: pb.AuthorizeReadRequest, context: Any
    ) -> pb.AuthorizeReadResponse:
        self.calls.append(request)
        await self.answering.wait()
        if self.failure is not None:
            raise self.failure
        viewable = self.viewable.get(request.caller.name, set())
        return pb.AuthorizeReadResponse(
            request_ids=[id_ for id_ in request.request_ids if id_ in viewable]
        )


@asynccontextmanager
async def deciding_manager(address: str = "127.0.0.1:0") -> AsyncIterator[DecidingManager]:
    """Serve one on an address."""
    manager = DecidingManager()
    server = RpcServer(internal=UNIDENTIFIED)
    listener = server.listen(INTERNAL, address)
    listener.serve(
        RpcService(
            "spincycle.internal.v1.ReadAccessService",
            partial(add_ReadAccessServiceServicer_to_server, manager),
        )
    )
    await server.start()
    manager.address = listener.address
    try:
        yield manager
    finally:
        await server.stop(0)
