"""AccessService: wire types in, wire types out."""

from __future__ import annotations

from typing import Any

import grpc

from spincycle.access.caller import current_caller
from spincycle.errors import InvalidInput
from spincycle.model.operation import REQUEST_OPERATIONS, Operation
from spincycle.request_manager.requests.access_control import (
    AccessControl,
    explanation,
    subject_of,
)
from spincycle.request_manager.requests.read import RequestReader
from spincycle.v1 import access_service_pb2 as rpc
from spincycle.v1 import access_service_pb2_grpc

LATEST = 253_402_300_799.0
"""Last second that a timestamp can hold."""

Context = grpc.aio.ServicerContext[Any, Any]


class AccessService(access_service_pb2_grpc.AccessServiceServicer):
    """Serves AccessService of the contract."""

    def __init__(self, access: AccessControl, reader: RequestReader) -> None:
        self._access = access
        self._reader = reader

    async def WhoAmI(self, request: rpc.WhoAmIRequest, context: Context) -> rpc.WhoAmIResponse:
        caller = current_caller()
        response = rpc.WhoAmIResponse(
            name=caller.name,
            roles=caller.roles,
            authenticator=caller.authenticator,
            admin=self._access.is_admin(caller),
        )
        if caller.expires_at is not None:
            response.expires_at.FromNanoseconds(int(min(caller.expires_at, LATEST) * 1e9))
        return response

    async def CheckAccess(
        self, request: rpc.CheckAccessRequest, context: Context
    ) -> rpc.CheckAccessResponse:
        caller = current_caller()
        operation = _operation(request)
        type_ = request.request_type
        if request.request_id:
            type_ = (await self._reader.row(request.request_id, caller)).type
        decision = self._access.decide(caller, operation, type_)
        subject = subject_of(type_, request.request_id) if type_ else ""
        return rpc.CheckAccessResponse(
            allowed=decision.allowed,
            rule=decision.rule,
            message=explanation(caller, operation, subject, decision),
            granting_roles=decision.granting_roles,
        )


def _operation(request: rpc.CheckAccessRequest) -> Operation:
    """Return the operation of a call.

    Raises:
        InvalidInput: it is unknown, or its subject does not belong to it.
    """
    try:
        operation = Operation(request.operation)
    except ValueError:
        raise InvalidInput(
            f'"{request.operation}" is not an operation: use one of {", ".join(Operation)}',
            "operation",
        )
    named = bool(request.request_type) + bool(request.request_id)
    if operation in REQUEST_OPERATIONS and named != 1:
        raise InvalidInput(
            f"operation {operation} needs either a type or a request", "request_type"
        )
    if operation not in REQUEST_OPERATIONS and named:
        raise InvalidInput(
            f"operation {operation} is on the installation, and takes no type or request",
            "request_type",
        )
    return operation
