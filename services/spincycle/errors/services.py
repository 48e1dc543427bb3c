"""Errors of a service, or of the connection to it."""

from __future__ import annotations

from dataclasses import dataclass

from spincycle.errors.base import FieldViolation, SpinCycleError


@dataclass(eq=False)
class DatabaseUnavailable(SpinCycleError):
    """the database is unavailable ({cause}); try again in a moment (repeat a create with the same
    idempotency key)"""

    reason = "DATABASE_UNAVAILABLE"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Try again; if the error persists, check PostgreSQL for the cause in the message."

    cause: str = "unreachable"


@dataclass(eq=False)
class ServiceUnavailable(SpinCycleError):
    """{service} at {address} cannot be reached; try again in a moment"""

    reason = "SERVICE_UNAVAILABLE"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Try again; if the error persists, check that the service is running and reachable."

    service: str
    address: str


@dataclass(eq=False)
class DeadlineExceeded(SpinCycleError):
    """{service} did not respond within {seconds} s"""

    reason = "DEADLINE_EXCEEDED"
    code = "DEADLINE_EXCEEDED"
    http = 504
    retryable = True
    remedy = "Set a longer deadline; if the service is slow for all callers, check its log."

    service: str
    seconds: float


@dataclass(eq=False)
class ShuttingDown(SpinCycleError):
    """{service} is shutting down; call another copy, or retry later"""

    reason = "SHUTTING_DOWN"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Retry; a load balancer forwards the call to another copy."

    service: str


@dataclass(eq=False)
class Overloaded(SpinCycleError):
    """the calls in flight hold {held} of at most {limit} bytes, and this call has {size}; it was
    not executed, try again in a moment"""

    reason = "OVERLOADED"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Retry with fewer large calls at a time; add a copy if the error persists."

    size: int
    held: int
    limit: int


@dataclass(eq=False)
class OutOfMemory(SpinCycleError):
    """there was not enough memory for this call of {method}; request less data, or retry when other
    calls have ended"""

    reason = "OUT_OF_MEMORY"
    code = "RESOURCE_EXHAUSTED"
    http = 503
    remedy = (
        "Request less data per call. If many calls fail like this, raise the memory limit of the "
        "service."
    )

    method: str


@dataclass(eq=False)
class WatcherTooSlow(SpinCycleError):
    """the watcher is more than {limit} events behind; resume from the last cursor"""

    reason = "WATCHER_TOO_SLOW"
    code = "RESOURCE_EXHAUSTED"
    http = 503
    retryable = True
    retry_after = 0.0
    remedy = "Resume from the last cursor, and read faster or watch fewer requests."

    limit: int


@dataclass(eq=False)
class CursorTooOld(SpinCycleError):
    """the cursor {cursor} points to events that are no longer retained; watch without a cursor to
    start from a snapshot"""

    reason = "CURSOR_TOO_OLD"
    code = "OUT_OF_RANGE"
    http = 410
    remedy = "Watch without a cursor."

    cursor: str


@dataclass(eq=False)
class InvalidPageToken(SpinCycleError):
    """the page token was not issued by this service for this filter; start from the first page"""

    reason = "INVALID_PAGE_TOKEN"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Start from the first page, and use the same filter for every page."


@dataclass(eq=False)
class UnknownMethod(SpinCycleError):
    """method {method} does not exist on this server; reflection lists the available methods"""

    reason = "UNKNOWN_METHOD"
    code = "UNIMPLEMENTED"
    http = 501
    remedy = (
        "Check the method's name, the service's address, and the versions of client and server."
    )

    method: str


@dataclass(eq=False)
class UnreadableMessage(SpinCycleError):
    """the request message of {method} cannot be decoded: {cause}"""

    reason = "UNREADABLE_MESSAGE"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Generate the client's stubs from the protos of this version."

    method: str
    cause: str


@dataclass(eq=False)
class MessageTooLarge(SpinCycleError):
    """a message of {call} has {size} bytes; the limit is {limit}"""

    reason = "MESSAGE_TOO_LARGE"
    code = "RESOURCE_EXHAUSTED"
    http = 413
    remedy = "Request less: use a page, a filter, or StreamJobChain instead of include_job_chain."

    call: str
    size: int
    limit: int


@dataclass(eq=False)
class Internal(SpinCycleError):
    """internal error; the log has its cause under incident {incident}"""

    reason = "INTERNAL"
    code = "INTERNAL"
    http = 500
    remedy = "Search the service's log for the incident, and report the logged error."

    incident: str


@dataclass(eq=False)
class RemoteError(SpinCycleError):
    """{problem}"""

    remedy = ""

    problem: str
    request_id: str = ""
    reason: str = "REMOTE"
    code: str = "UNKNOWN"
    http: int = 500
    retryable: bool = False
    retry_after: float = 1.0
    reported_violations: tuple[FieldViolation, ...] = ()

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """The violations that the other process reported."""
        return self.reported_violations
