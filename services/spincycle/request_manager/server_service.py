"""ServerService: what a client can expect of this server."""

from __future__ import annotations

from typing import Any

import grpc

from spincycle.request_manager.watch.subscriptions import MAX_REQUEST_IDS
from spincycle.rpc.limits import (
    ID_BYTES,
    KEY_CHARACTERS,
    MAX_MESSAGE_BYTES,
    MAX_VALUES,
    PUBLIC,
    REASON_BYTES,
)
from spincycle.runtime.version import VERSION
from spincycle.v1 import server_service_pb2, server_service_pb2_grpc

API_FEATURES: tuple[str, ...] = ("access", "job_path", "rerun_allow_concurrent")
"""Names of additions to the API since the base in protos/COMPATIBLE_SINCE."""

Context = grpc.aio.ServicerContext[Any, Any]


class ServerService(server_service_pb2_grpc.ServerServiceServicer):
    """Serves ServerService of the contract.

    Args:
        installation_name: name that the operator gave the installation; empty if none.
    """

    def __init__(self, installation_name: str) -> None:
        self._info = server_service_pb2.GetServerInfoResponse(
            version=VERSION,
            features=API_FEATURES,
            installation_name=installation_name,
            limits=server_service_pb2.ServerLimits(
                request_bytes=PUBLIC.request_bytes,
                response_bytes=MAX_MESSAGE_BYTES,
                calls_per_connection=PUBLIC.streams,
                argument_values=MAX_VALUES,
                id_bytes=ID_BYTES,
                reason_bytes=REASON_BYTES,
                idempotency_key_characters=KEY_CHARACTERS,
                watched_requests=MAX_REQUEST_IDS,
            ),
        )

    async def GetServerInfo(
        self, request: server_service_pb2.GetServerInfoRequest, context: Context
    ) -> server_service_pb2.GetServerInfoResponse:
        return self._info
