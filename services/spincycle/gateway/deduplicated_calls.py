"""Reads whose answers are taken as they come, asked once for all who ask the same at a time."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from spincycle.gateway.backends import ServiceClient

Request = TypeVar("Request", bound=Message)

SETTLE_TURNS = 4
"""Turns of the event loop before a call is sent. Callers that are answered together ask again
within some turns, not within one; a turn that nobody uses takes microseconds."""


class DeduplicatedCalls(Generic[Request]):
    """One method of a service, which only reads.

    Callers share a call that has not been sent yet, and never one that has: the service may have
    read already by then, and a caller is to see all that he was told before he asked. Nor does
    anybody wait for a call that others have sent, to a copy of the service that may hang.

    Args:
        backend: the service.
        method: the method in full, `/package.Service/Method`.
    """

    def __init__(self, backend: ServiceClient[Any], method: str) -> None:
        self._backend = backend
        # Without serializers: bytes both ways.
        self._call: Any = backend.channel.unary_unary(method)
        self._unsent: dict[bytes, asyncio.Task[bytes]] = {}

    async def ask(self, request: Request) -> bytes:
        """The answer, serialized. A caller that is cancelled leaves the others alone.

        Raises:
            SpinCycleError: as `ServiceClient.ask`.
        """
        key = request.SerializeToString(deterministic=True)
        call = self._unsent.get(key)
        if call is None:
            call = self._unsent[key] = asyncio.create_task(self._send(key))
        return await asyncio.shield(call)

    async def _send(self, request: bytes) -> bytes:
        try:
            for _ in range(SETTLE_TURNS):
                await asyncio.sleep(0)
        finally:
            del self._unsent[request]
        try:
            answer: bytes = await self._call(request, timeout=self._backend.timeout)
        except grpc.aio.AioRpcError as failure:
            raise self._backend.named(failure)
        return answer
