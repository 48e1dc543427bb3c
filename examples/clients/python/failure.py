"""What a failed call says: a stable reason, the fields at fault, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
from google.rpc import error_details_pb2, status_pb2

_PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    # What is left of a call whose server has died can also look like these.
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
}


@dataclass
class Failure(Exception):
    """A call that failed.

    Attributes:
        code: the status code.
        message: one sentence for a person.
        reason: stable name from google.rpc.ErrorInfo; the code's name if gRPC itself failed.
        metadata: the values in the message, from google.rpc.ErrorInfo.
        violations: field and what is wrong with it, from google.rpc.BadRequest.
    """

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, error: grpc.RpcError) -> Failure:
        """Read the details, which travel beside the status code."""
        failure = cls(error.code(), error.details() or "", error.code().name)
        for key, value in error.trailing_metadata() or ():
            if key != "grpc-status-details-bin":
                continue
            for detail in status_pb2.Status.FromString(value).details:
                info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
                if detail.Unpack(info):
                    failure.reason, failure.metadata = info.reason, dict(info.metadata)
                elif detail.Unpack(bad):
                    failure.violations = [(v.field, v.description) for v in bad.field_violations]
        return failure

    @property
    def is_passing(self) -> bool:
        """Whether the same call, made again, may well succeed."""
        return self.code in _PASSING

    @property
    def explained(self) -> str:
        """Everything a person needs, a line each."""
        lines = [f"error: {self.reason}: {self.message}"]
        lines += [f"  {field}: {description}" for field, description in self.violations]
        return "\n".join([*lines, f"  {self.advice}"])

    @property
    def advice(self) -> str:
        """What the person who called can do."""
        match self.reason:
            case "INVALID_STATE":
                state, expected = self.metadata["state"], self.metadata["expected"]
                return f"the request is {state}; only {expected} will do"
            case "IDEMPOTENCY_CONFLICT":
                return f"watch {self.metadata['request_id']}, or take a new key for a new request"
            case "UNKNOWN_REQUEST_TYPE":
                return "`spinc` without arguments lists what can be asked for"
            case "REQUEST_NOT_FOUND":
                return "check the id; `spinc find` lists requests"
        match self.code:
            case grpc.StatusCode.INVALID_ARGUMENT:
                return "correct what is named above"
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
                return "nobody answers now: run the same line again later, with the same key"
        return "this program does not know better"
