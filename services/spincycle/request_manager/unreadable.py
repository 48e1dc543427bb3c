"""Failures that concern one request: they are reported with it, and others are not affected."""

from __future__ import annotations

import secrets

import structlog

from spincycle.errors import (
    ChainTooLarge,
    Internal,
    MessageTooLarge,
    RequestNotFound,
    RequestUnreadable,
    SpinCycleError,
)
from spincycle.request_manager.model import Request
from spincycle.request_manager.stored_args import StoredArgs
from spincycle.request_manager.translate import encode_arg, encode_request, encode_state
from spincycle.rpc.status import to_message
from spincycle.v1 import request_pb2

_OF_ONE_REQUEST = frozenset(
    entry.reason
    for entry in (ChainTooLarge, Internal, MessageTooLarge, RequestNotFound, RequestUnreadable)
)


def request_failure(request_id: str, cause: Exception) -> SpinCycleError:
    """Return what to report with the request whose data could not be read.

    Raises:
        SpinCycleError: `cause` itself, which concerns more than this request, for example a
            database that cannot be reached.
    """
    if isinstance(cause, SpinCycleError):
        if cause.reason in _OF_ONE_REQUEST:
            return cause
        raise cause
    incident = secrets.token_hex(4)
    structlog.get_logger().error(
        "request unreadable", request_id=request_id, incident=incident, exc_info=cause
    )
    return RequestUnreadable(request_id, incident)


def encode_or_report(
    request: Request, args: StoredArgs | None = None, failure: SpinCycleError | None = None
) -> request_pb2.Request:
    """Return a request as a message; what cannot be encoded is missing, and `error` says why."""
    try:
        message = encode_request(request)
    except Exception as cause:  # noqa: BLE001 # whatever is stored, others are not affected
        failure = failure or request_failure(request.request_id, cause)
        message = request_pb2.Request(
            id=request.request_id, type=request.type, state=encode_state(request.state)
        )
    if args is not None:
        try:
            message.args.extend([encode_arg(arg) for arg in args.parse()])
        except Exception as cause:  # noqa: BLE001 # as above
            failure = failure or request_failure(request.request_id, cause)
    if failure is not None:
        message.error.CopyFrom(to_message(failure))
    return message
