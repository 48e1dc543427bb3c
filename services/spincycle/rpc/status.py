"""Converts errors of the catalogue to gRPC statuses with details, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NoReturn, Protocol

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from spincycle import errors
from spincycle.errors import FieldViolation, SpinCycleError
from spincycle.text.shortening import shortened
from spincycle.v1 import error_pb2

_MESSAGE = 700
_REQUEST_ID = 130
_METADATA = 600
_VIOLATIONS = 1500
"""Maximum bytes of an error's parts. A status is sent as trailing metadata, in which gRPC
guarantees 8 KB and rejects more than 16 KB; it contains the message three times."""

DOMAIN = "spincycle"
"""Domain of every ErrorInfo of these services."""

_TOO_LARGE = re.compile(r"message larger than max \((\d+) vs\. (\d+)\)")


def to_message(error: SpinCycleError) -> error_pb2.Error:
    """Convert an error to the Error message of the contract."""
    return error_pb2.Error(
        message=shortened(error.message, _MESSAGE),
        request_id=shortened(error.request_id_or_empty, _REQUEST_ID),
        http_status=error.http,
        reason=error.reason,
    )


def to_status(error: SpinCycleError) -> status_pb2.Status:
    """Convert an error to a status with details.

    The details are ErrorInfo first, BadRequest if fields are invalid, RetryInfo if the call can be
    retried, and Error last. Long texts are shortened in the middle; of many violations only the
    first are included.
    """
    message = shortened(error.message, _MESSAGE)
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=message)
    metadata = error.metadata
    for key, value in metadata.items():
        metadata[key] = shortened(value, _METADATA // len(metadata))
    _add(
        status,
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata),
    )
    if error.violations:
        _add(status, _bad_request(error.violations))
    if error.retryable:
        retry_info = error_details_pb2.RetryInfo()
        retry_info.retry_delay.FromMilliseconds(round(error.retry_after * 1000))
        _add(status, retry_info)
    _add(status, to_message(error))
    return status


def _bad_request(violations: tuple[FieldViolation, ...]) -> error_details_pb2.BadRequest:
    bad = error_details_pb2.BadRequest()
    for violation in violations:
        bad.field_violations.add(
            field=shortened(violation.field, _VIOLATIONS // 8),
            description=shortened(violation.description, _VIOLATIONS // 4),
        )
        if bad.ByteSize() > _VIOLATIONS:
            break
    return bad


def _add(status: status_pb2.Status, detail: Message) -> None:
    packed = Any()
    packed.Pack(detail)
    status.details.append(packed)


async def abort(
    context: grpc.aio.ServicerContext[object, object], error: SpinCycleError
) -> NoReturn:
    """Abort the call with the error."""
    status = rpc_status.to_status(to_status(error))
    await context.abort(status.code, status.details, status.trailing_metadata)
    raise AssertionError("abort returned")


class FailedCall(Protocol):
    """Error of a failed call, blocking or not."""

    def code(self) -> grpc.StatusCode: ...

    def details(self) -> str | None: ...

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


def from_rpc_error(failure: FailedCall, service: str, address: str) -> SpinCycleError:
    """Convert the error of a failed call to one of our services to an entry of the catalogue.

    An error without our details becomes ServiceUnavailable, DeadlineExceeded, MessageTooLarge or
    RemoteError, depending on its code.
    """
    for key, value in failure.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value))
    code = failure.code()
    if code is grpc.StatusCode.UNAVAILABLE:
        return errors.ServiceUnavailable(service, address)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded(service, 0)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # gRPC rejects such a message before our code is called.
        sizes = _TOO_LARGE.search(failure.details() or "")
        if sizes:
            return errors.MessageTooLarge(service, int(sizes[1]), int(sizes[2]))
    return errors.RemoteError(failure.details() or code.name, reason=code.name, code=code.name)


def from_status(status: status_pb2.Status) -> SpinCycleError:
    """Convert a status with our details to an error."""
    message = error_pb2.Error(message=status.message)
    violations: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None
    for detail in status.details:
        if detail.Is(error_pb2.Error.DESCRIPTOR):
            detail.Unpack(message)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry_info = error_details_pb2.RetryInfo()
            detail.Unpack(retry_info)
            retry_after = retry_info.retry_delay.ToMilliseconds() / 1000
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations = tuple(
                FieldViolation(violation.field, violation.description)
                for violation in bad.field_violations
            )
    error = from_message(message, code_pb2.Code.Name(status.code), violations)
    if retry_after is not None:
        error.retry_after = retry_after
    return error


def from_message(
    message: error_pb2.Error, code: str = "UNKNOWN", violations: tuple[FieldViolation, ...] = ()
) -> SpinCycleError:
    """Convert an Error message of another process to an error."""
    known = errors.catalogue().get(message.reason)
    return errors.RemoteError(
        problem=message.message,
        request_id=message.request_id,
        reason=message.reason or "REMOTE",
        code=known.code if known else code,
        http=message.http_status or 500,
        retryable=known.retryable if known else False,
        reported_violations=violations,
    )
