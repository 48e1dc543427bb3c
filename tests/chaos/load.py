"""Requests created without pause, each until it is acknowledged, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import grpc

from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

CALL_AGAIN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
    }
)
"""What a client may get when a server dies under its call; the key makes calling again safe."""

FINAL = {state_pb2.STATE_COMPLETE, state_pb2.STATE_FAIL, state_pb2.STATE_STOPPED}


class Load:
    """A client that creates requests and remembers which were acknowledged, and when."""

    def __init__(
        self, address: str, seed: int, types: Sequence[str] = ("busy", "again", "once")
    ) -> None:
        self._channel = open_channel(address)
        self.stub = RequestManagerServiceStub(self._channel)
        self._random = random.Random(seed)
        self._types = types
        self.acknowledged: dict[str, float] = {}
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def run(self, ended: asyncio.Event, rate: float, ms: int = 200) -> None:
        """Create `rate` requests a second until `ended`; then wait for those under way."""
        async with asyncio.TaskGroup() as group:
            while not ended.is_set():
                group.create_task(self.create(self._random.choice(self._types), ms))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._random.expovariate(rate)):
                        await ended.wait()

    async def create(self, type_: str, ms: int) -> str:
        """Create one request, calling again until it is acknowledged; answer its id."""
        request = rpc.CreateRequest(type=type_, idempotency_key=uuid.uuid4().hex)
        request.args.update({"ms": str(ms)})
        while True:
            try:
                response = await self.stub.Create(request, timeout=10)
            except grpc.aio.AioRpcError as failure:
                self.answers[failure.code().name] += 1
                if failure.code() not in CALL_AGAIN:
                    self.wrong.append(f"create: {failure.code().name}: {failure.details()}")
                await asyncio.sleep(0.2)
                continue
            self.answers["OK"] += 1
            self.acknowledged[response.request.id] = time.time()
            return response.request.id

    async def until_final(self, patience: float) -> list[str]:
        """Wait until every acknowledged request has ended; answer those that have not."""
        left = set(self.acknowledged)
        deadline = time.monotonic() + patience
        while left and time.monotonic() < deadline:
            for request_id in sorted(left):
                if await self._has_ended(request_id):
                    left.discard(request_id)
            if left:
                await asyncio.sleep(0.5)
        return sorted(left)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def _has_ended(self, request_id: str) -> bool:
        try:
            response = await self.stub.Get(rpc.GetRequest(request_id=request_id), timeout=10)
        except grpc.aio.AioRpcError as failure:
            if failure.code() not in CALL_AGAIN:
                self.wrong.append(f"get: {failure.code().name}: {failure.details()}")
            return False
        return response.request.state in FINAL
