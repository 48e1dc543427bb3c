"""Calls that a service must refuse."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable
from typing import Any

import grpc

from spincycle.rpc.status import from_rpc_error

TIMEOUT = 20.0
"""Seconds for a call, so that one that is not refused ends."""


async def reason_of(response: Awaitable[Any] | AsyncIterable[Any]) -> str:
    """Return the reason for which a call is refused; "" if it is answered or ends normally."""
    try:
        if isinstance(response, AsyncIterable):
            async for _ in response:
                return ""
        else:
            await response
    except grpc.aio.AioRpcError as failure:
        return from_rpc_error(failure, "service", "").reason
    return ""


async def raw_reason(channel: grpc.aio.Channel, method: str, message: bytes = b"") -> str:
    """Return the reason for which any method, /package.Service/Method, is refused."""
    call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
    return await reason_of(call(iter([message]), timeout=TIMEOUT))
