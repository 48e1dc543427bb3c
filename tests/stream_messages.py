"""Messages of a gRPC stream with their type, which the stubs of `read` do not have."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import grpc

Message = TypeVar("Message")


async def read_message(
    call: grpc.aio.UnaryStreamCall[Any, Message] | grpc.aio.StreamStreamCall[Any, Message],
) -> Message:
    """Return the next message of a stream, which must not have ended."""
    message = await call.read()
    assert message is not grpc.aio.EOF
    return cast("Message", message)
