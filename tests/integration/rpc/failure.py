"""The failure of a call, and its details."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from spincycle.v1 import error_pb2


async def failure(call: Any) -> grpc.aio.AioRpcError:
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as failed:
        return failed
    raise AssertionError("it did not fail")


def details(failed: grpc.aio.AioRpcError) -> dict[str, Any]:
    found = dict(failed.trailing_metadata() or ())
    status = status_pb2.Status.FromString(found["grpc-status-details-bin"])
    kinds = {
        kind.DESCRIPTOR.full_name: kind
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.RetryInfo,
            error_pb2.Error,
        )
    }
    found = {}
    for detail in status.details:
        kind = kinds[detail.TypeName()]
        found[kind.DESCRIPTOR.name] = kind.FromString(detail.value)
    return found
