"""What is wrong with a request, or with what was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from spincycle.errors.base import FieldViolation, SpinCycleError


@dataclass(eq=False)
class RequestNotFound(SpinCycleError):
    """request {request_id} not found"""

    reason = "REQUEST_NOT_FOUND"
    code = "NOT_FOUND"
    http = 404
    remedy = "Check the request id; List finds requests."

    request_id: str


@dataclass(eq=False)
class RequestUnreadable(SpinCycleError):
    """what is stored of request {request_id} cannot be read; the log of the request manager has
    the cause under incident {incident}"""

    reason = "REQUEST_UNREADABLE"
    code = "INTERNAL"
    http = 500
    remedy = (
        "Look for the incident in the log of the request manager, and report it. Other requests "
        "are not affected."
    )

    request_id: str
    incident: str


@dataclass(eq=False)
class JobNotFound(SpinCycleError):
    """job {job_id} not found in request {request_id}"""

    reason = "JOB_NOT_FOUND"
    code = "NOT_FOUND"
    http = 404
    remedy = "Check the job id; GetJobChain and ListEntries name the jobs."

    request_id: str
    job_id: str


@dataclass(eq=False)
class InvalidInput(SpinCycleError):
    """{problem}"""

    reason = "INVALID_INPUT"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Mend the field that is named."

    problem: str
    field: str = ""

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """The one field, if it is known."""
        return (FieldViolation(self.field, self.problem),) if self.field else ()


@dataclass(eq=False)
class UnknownRequestType(SpinCycleError):
    """{problem}"""

    reason = "UNKNOWN_REQUEST_TYPE"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "ListSpecs names what can be created."

    problem: str
    type: str

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """The type."""
        return (FieldViolation("type", self.problem),)


@dataclass(eq=False)
class InvalidArgs(SpinCycleError):
    """{problem}"""

    reason = "INVALID_ARGS"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Mend the arguments that are named; ListSpecs describes them."

    problem: str
    type: str
    args: tuple[FieldViolation, ...] = ()

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """One entry an argument."""
        return self.args


@dataclass(eq=False)
class ChainNotBuilt(SpinCycleError):
    """{problem}"""

    reason = "CHAIN_NOT_BUILT"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Mend the argument or the spec that the message names."

    problem: str
    type: str
    sequence: str = ""
    node: str = ""
    job_type: str = ""
    argument: str = ""
    cause: str = ""


@dataclass(eq=False)
class PlanTooLarge(SpinCycleError):
    """{problem}"""

    reason = "PLAN_TOO_LARGE"
    code = "RESOURCE_EXHAUSTED"
    http = 413
    remedy = (
        "Repeat nodes over fewer elements, and give jobs the name of a file in place of a large "
        "value: each job has its own copy of its arguments."
    )

    problem: str
    type: str
    sequence: str
    node: str
    jobs: int
    size: int
    limit: int


@dataclass(eq=False)
class CreateStuck(SpinCycleError):
    """{threads} calls of a job's create have not come back; no request can be created until
    some do, or this copy is restarted"""

    reason = "CREATE_STUCK"
    code = "RESOURCE_EXHAUSTED"
    http = 503
    retryable = True
    remedy = "Find out what the job types named in the log wait for when they are created."

    threads: int


@dataclass(eq=False)
class IdempotencyConflict(SpinCycleError):
    """idempotency key "{idempotency_key}" was used for request {request_id} with other content;
    use a new key for a new request"""

    reason = "IDEMPOTENCY_CONFLICT"
    code = "ALREADY_EXISTS"
    http = 409
    remedy = "Use a new key for a new request."

    idempotency_key: str
    request_id: str


@dataclass(eq=False)
class PlanChanged(SpinCycleError):
    """the plan is {actual} now, not {expected}; look at the plan again before you start it"""

    reason = "PLAN_CHANGED"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = "Look at the plan again, and start it with its new hash."

    expected: str
    actual: str


@dataclass(eq=False)
class InvalidState(SpinCycleError):
    """request in state {state}, expected state {expected}"""

    reason = "INVALID_STATE"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = "Get the request; it has moved on since you looked."

    request_id: str
    state: str
    expected: str


@dataclass(eq=False)
class LintTooExpensive(SpinCycleError):
    """checking the spec files took more than {seconds} s or {mebibytes} MiB; send fewer or smaller
    files, or check them with `spincycle lint`"""

    reason = "LINT_TOO_EXPENSIVE"
    code = "RESOURCE_EXHAUSTED"
    http = 413
    remedy = "Send fewer or smaller files, with fewer aliases, or check them with `spincycle lint`."

    seconds: int
    mebibytes: int


@dataclass(eq=False)
class LintBusy(SpinCycleError):
    """{waiting} calls wait already to have spec files checked; try again in a moment"""

    reason = "LINT_BUSY"
    code = "RESOURCE_EXHAUSTED"
    http = 503
    retryable = True
    remedy = "Try again, or check the files with `spincycle lint`."

    waiting: int
