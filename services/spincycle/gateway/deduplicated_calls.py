"""Shares one call to a service between identical concurrent reads."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from spincycle.gateway.caller_channel import PassedOn, passed_on
from spincycle.gateway.service_clients import ServiceClient

Request = TypeVar("Request", bound=Message)

SETTLE_TURNS = 4
"""Event loop iterations before a call is sent. Clients whose responses were sent together send
their next calls within a few iterations; an idle iteration takes microseconds."""


class DeduplicatedCalls(Generic[Request]):
    """Deduplicates the calls of one read-only method.

    Callers share a call only until it is sent. The service may have read its data by then, and
    each caller must see everything committed before its own call. A caller also never waits for
    a call in flight, which may have gone to a copy of the service that hangs.

    Args:
        client: the service.
        method: the full method name, `/package.Service/Method`.
    """

    def __init__(self, client: ServiceClient[Any], method: str) -> None:
        self._client = client
        # Without serializers, requests and responses are bytes.
        self._call: Any = client.channel.unary_unary(method)
        self._unsent: dict[tuple[bytes, PassedOn], asyncio.Task[bytes]] = {}

    async def call(self, request: Request) -> bytes:
        """Return the serialized response; cancelling one caller does not affect the others.

        Raises:
            SpinCycleError: as `ServiceClient.call`.
        """
        # What a caller may see depends on the caller.
        key = request.SerializeToString(deterministic=True), passed_on().key()
        call = self._unsent.get(key)
        if call is None:
            call = self._unsent[key] = asyncio.create_task(self._send(key))
        return await asyncio.shield(call)

    async def _send(self, key: tuple[bytes, PassedOn]) -> bytes:
        try:
            for _ in range(SETTLE_TURNS):
                await asyncio.sleep(0)
        finally:
            del self._unsent[key]
        try:
            response: bytes = await self._call(key[0], timeout=self._client.timeout)
        except grpc.aio.AioRpcError as failure:
            raise self._client.translate(failure)
        return response
