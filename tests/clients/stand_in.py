"""A request manager that answers as a test wants, where the real one cannot be made to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from spincycle.errors import SpinCycleError
from spincycle.rpc.limits import PUBLIC
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.v1 import request_event_pb2, request_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1.request_manager_service_pb2_grpc import (
    RequestManagerServiceServicer,
    add_RequestManagerServiceServicer_to_server,
)

REQUEST_ID = "d5l2m0a1b2c3d4e5f6g7"


class StandIn(RequestManagerServiceServicer):
    """Knows one request, which is COMPLETE.

    Attributes:
        asked: what was asked, in order.
        time_left: seconds to the deadline of each call that came with one.
        left: set when a caller leaves a call that hangs.
        refuse: says how a call fails, or None if it does not.
        hangs: whether nothing more comes once a call has been taken.
    """

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.time_left: list[float] = []
        self.left = asyncio.Event()
        self.refuse: Callable[[Any], SpinCycleError | None] = lambda asked: None
        self.hangs = False
        self._server = RpcServer()
        self._listener = self._server.listen(PUBLIC, "127.0.0.1:0").serve(
            RpcService(
                "spincycle.v1.RequestManagerService",
                partial(add_RequestManagerServiceServicer_to_server, self),
            )
        )

    @property
    def address(self) -> str:
        """host:port of its public listener."""
        return self._listener.address

    async def start(self) -> None:
        """Start to accept calls."""
        await self._server.start()

    async def stop(self) -> None:
        """End."""
        await self._server.stop(0)

    def of_kind(self, kind: type[Any]) -> list[Any]:
        """What was asked with messages of one kind, in order."""
        return [asked for asked in self.asked if isinstance(asked, kind)]

    async def Create(self, request: rm.CreateRequest, context: Any) -> rm.CreateResponse:
        await self._take(request, context)
        return rm.CreateResponse(request=self._request())

    async def Get(self, request: rm.GetRequest, context: Any) -> rm.GetResponse:
        await self._take(request, context)
        return rm.GetResponse(request=self._request())

    async def Stop(self, request: rm.StopRequest, context: Any) -> rm.StopResponse:
        await self._take(request, context)
        return rm.StopResponse(request=self._request())

    async def Watch(
        self, request: rm.WatchRequest, context: Any
    ) -> AsyncIterator[rm.WatchResponse]:
        self.asked.append(request)
        event = request_event_pb2.RequestEvent(
            request_id=REQUEST_ID,
            revision=f"{1:019d}",
            cursor=f"after-{request.cursor or 'nothing'}",
        )
        event.snapshot.request.CopyFrom(self._request())
        error = self.refuse(request)
        if error is None or error.reason != "CURSOR_TOO_OLD":
            yield rm.WatchResponse(events=[event])
        if error is not None:
            raise error
        if self.hangs:
            await self._hang()

    async def _take(self, asked: Any, context: Any) -> None:
        self.asked.append(asked)
        remaining = context.time_remaining()
        if remaining is not None:
            self.time_left.append(remaining)
        error = self.refuse(asked)
        if error is not None:
            raise error
        if self.hangs:
            await self._hang()

    async def _hang(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()

    def _request(self) -> request_pb2.Request:
        return request_pb2.Request(id=REQUEST_ID, type="walk", state=state_pb2.STATE_COMPLETE)
