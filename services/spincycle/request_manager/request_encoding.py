"""Encoding of stored requests; a failure is reported with its request and affects no other."""

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
from spincycle.request_manager.codec import encode_arg, encode_request, encode_state
from spincycle.request_manager.storage.encoded_args import NO_ARGS, EncodedArgs
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.storage.stored_args import StoredArgs
from spincycle.rpc.status import to_message
from spincycle.runtime.off_loop import LARGE_BYTES, off_loop
from spincycle.v1 import request_pb2

_OF_ONE_REQUEST = frozenset(
    entry.reason
    for entry in (ChainTooLarge, Internal, MessageTooLarge, RequestNotFound, RequestUnreadable)
)


def request_failure(request_id: str, cause: Exception) -> SpinCycleError:
    """Return the error to report with a request whose data could not be read.

    Raises:
        SpinCycleError: `cause` itself, if it concerns more than this request, for example a
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
    problem = f"the request manager's log has the cause under incident {incident}"
    return RequestUnreadable(request_id, problem, incident)


async def encode_args(request_id: str, stored: StoredArgs) -> EncodedArgs:
    """Return stored arguments as messages, or the failure to read them."""
    try:
        is_large = len(stored.text) >= LARGE_BYTES
        return EncodedArgs(await off_loop(is_large, lambda: _encoded(stored)))
    except Exception as cause:  # noqa: BLE001 # what is stored can be anything
        return EncodedArgs(failure=request_failure(request_id, cause))


def _encoded(stored: StoredArgs) -> list[request_pb2.RequestArg]:
    return [encode_arg(arg) for arg in stored.parse()]


def encode_or_report(
    request: Request, args: EncodedArgs = NO_ARGS, failure: SpinCycleError | None = None
) -> request_pb2.Request:
    """Return a request as a message; its field `error` says which part could not be encoded."""
    try:
        message = encode_request(request)
    except Exception as cause:  # noqa: BLE001 # whatever is stored, others are not affected
        failure = failure or request_failure(request.request_id, cause)
        message = request_pb2.Request(
            id=request.request_id, type=request.type, state=encode_state(request.state)
        )
    message.args.extend(args.messages)
    failure = failure or args.failure
    if failure is not None:
        message.error.CopyFrom(to_message(failure))
    return message
