"""What is wrong with a service, or with the way to it."""

from __future__ import annotations

from dataclasses import dataclass

from spincycle.errors.base import FieldViolation, SpinCycleError


@dataclass(eq=False)
class DatabaseUnavailable(SpinCycleError):
    """the database is unavailable ({cause}); try again in a moment, a create with the same
    idempotency key"""

    reason = "DATABASE_UNAVAILABLE"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Try again; if it lasts, see to PostgreSQL and the cause that the message names."

    cause: str = "unreachable"


@dataclass(eq=False)
class ServiceUnavailable(SpinCycleError):
    """{service} at {address} cannot be reached; try again in a moment"""

    reason = "SERVICE_UNAVAILABLE"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Try again; if it lasts, see whether that service lives and can be reached."

    service: str
    address: str


@dataclass(eq=False)
class DeadlineExceeded(SpinCycleError):
    """{service} did not answer within {seconds} s"""

    reason = "DEADLINE_EXCEEDED"
    code = "DEADLINE_EXCEEDED"
    http = 504
    retryable = True
    remedy = "Give the call more time; if the service is slow for all, see its log."

    service: str
    seconds: float


@dataclass(eq=False)
class ShuttingDown(SpinCycleError):
    """{service} is shutting down; call another copy, or this one a little later"""

    reason = "SHUTTING_DOWN"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Call again; a load balancer leads to another copy."

    service: str


@dataclass(eq=False)
class Overloaded(SpinCycleError):
    """the calls in flight hold {held} of at most {limit} bytes, and this one has {size}; nothing
    was done, try again in a moment"""

    reason = "OVERLOADED"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Try again, with fewer large calls at the same time; add a copy if it lasts."

    size: int
    held: int
    limit: int


@dataclass(eq=False)
class OutOfMemory(SpinCycleError):
    """there was not enough memory for this call of {method}; ask for less at a time, or try again
    when other calls have ended"""

    reason = "OUT_OF_MEMORY"
    code = "RESOURCE_EXHAUSTED"
    http = 503
    remedy = "Ask for less at a time. If many calls fail so, raise the memory limit of the service."

    method: str


@dataclass(eq=False)
class WatcherTooSlow(SpinCycleError):
    """the watcher is more than {limit} events behind; watch again from the last cursor"""

    reason = "WATCHER_TOO_SLOW"
    code = "RESOURCE_EXHAUSTED"
    http = 503
    retryable = True
    retry_after = 0.0
    remedy = "Watch again from the last cursor, and read faster or watch less."

    limit: int


@dataclass(eq=False)
class CursorTooOld(SpinCycleError):
    """the cursor {cursor} points to events that are no longer kept; watch again without a
    cursor to begin with a snapshot"""

    reason = "CURSOR_TOO_OLD"
    code = "OUT_OF_RANGE"
    http = 410
    remedy = "Watch again without a cursor."

    cursor: str


@dataclass(eq=False)
class InvalidPageToken(SpinCycleError):
    """the page token was not made by this service for this filter; begin with the first page"""

    reason = "INVALID_PAGE_TOKEN"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Begin with the first page, and keep the filter from page to page."


@dataclass(eq=False)
class UnknownMethod(SpinCycleError):
    """there is no method {method} here; reflection lists those that there are"""

    reason = "UNKNOWN_METHOD"
    code = "UNIMPLEMENTED"
    http = 501
    remedy = "Check the method's name, the service's address, and the version of both ends."

    method: str


@dataclass(eq=False)
class UnreadableMessage(SpinCycleError):
    """the message for {method} cannot be read: {cause}"""

    reason = "UNREADABLE_MESSAGE"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Make the client's stubs from the protos of this version."

    method: str
    cause: str


@dataclass(eq=False)
class MessageTooLarge(SpinCycleError):
    """a message of {call} takes {size} bytes; one may take {limit}"""

    reason = "MESSAGE_TOO_LARGE"
    code = "RESOURCE_EXHAUSTED"
    http = 413
    remedy = "Ask for less: a page, a filter, StreamJobChain in place of include_job_chain."

    call: str
    size: int
    limit: int


@dataclass(eq=False)
class Internal(SpinCycleError):
    """something went wrong inside; the log has it under incident {incident}"""

    reason = "INTERNAL"
    code = "INTERNAL"
    http = 500
    remedy = "Look for the incident in the service's log, and report what stands there."

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
    told_violations: tuple[FieldViolation, ...] = ()

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """As the other process told."""
        return self.told_violations
