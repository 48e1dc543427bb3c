"""ReadAccessService: wire types in, wire types out."""

from __future__ import annotations

from typing import Any

import grpc

from spincycle.errors import InvalidInput
from spincycle.internal.v1 import read_access_service_pb2 as rpc
from spincycle.internal.v1 import read_access_service_pb2_grpc
from spincycle.request_manager.requests.read import RequestReader
from spincycle.rpc.caller_metadata import decode_caller

MAX_REQUEST_IDS = 1000
"""Most requests in one call."""

Context = grpc.aio.ServicerContext[Any, Any]


class ReadAccessService(read_access_service_pb2_grpc.ReadAccessServiceServicer):
    """Serves ReadAccessService of the contract."""

    def __init__(self, reader: RequestReader) -> None:
        self._reader = reader

    async def AuthorizeRead(
        self, request: rpc.AuthorizeReadRequest, context: Context
    ) -> rpc.AuthorizeReadResponse:
        if len(request.request_ids) > MAX_REQUEST_IDS:
            raise InvalidInput(f"a call takes at most {MAX_REQUEST_IDS} request ids", "request_ids")
        caller = decode_caller(request.caller)
        viewable = await self._reader.viewable(list(request.request_ids), caller)
        return rpc.AuthorizeReadResponse(request_ids=viewable)
