"""Errors of requests, and of calls about them."""

from __future__ import annotations

from dataclasses import dataclass

from spincycle.errors.base import FieldViolation, SpinCycleError


@dataclass(eq=False)
class RequestNotFound(SpinCycleError):
    """request {request_id} not found"""

    reason = "REQUEST_NOT_FOUND"
    code = "NOT_FOUND"
    http = 404
    remedy = "Check the request id; List returns the ids of requests."

    request_id: str


@dataclass(eq=False)
class RequestUnreadable(SpinCycleError):
    """the stored data of request {request_id} cannot be decoded; {problem}"""

    reason = "REQUEST_UNREADABLE"
    code = "INTERNAL"
    http = 500
    remedy = (
        "If the message names a key, restore that key in the file of `secrets.key_file`. If it "
        "names an incident, search the request manager's log for it, and report it. Other requests "
        "are not affected."
    )

    request_id: str
    problem: str
    incident: str = ""


@dataclass(eq=False)
class SecretsNotSealed(SpinCycleError):
    """requests of type {type} have secret arguments, and the request manager has no key to seal
    them with; ask its operator to set secrets.key_file"""

    reason = "SECRETS_NOT_SEALED"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = (
        "Make a key by `spincycle secrets new-key FILE`, and set `secrets.key_file` of all request "
        "managers to the file; `secrets.plaintext: true` stores secrets in clear."
    )

    type: str


@dataclass(eq=False)
class JobNotFound(SpinCycleError):
    """job {job_id} not found in request {request_id}{suggestion}"""

    reason = "JOB_NOT_FOUND"
    code = "NOT_FOUND"
    http = 404
    remedy = "Check the job id; GetJobChain and ListEntries return the ids of jobs."

    request_id: str
    job_id: str
    suggestion: str = ""


@dataclass(eq=False)
class InvalidInput(SpinCycleError):
    """{problem}"""

    reason = "INVALID_INPUT"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Correct the field named in the message."

    problem: str
    field: str = ""

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """The invalid field, if it is known."""
        return (FieldViolation(self.field, self.problem),) if self.field else ()


@dataclass(eq=False)
class UnknownRequestType(SpinCycleError):
    """{problem}"""

    reason = "UNKNOWN_REQUEST_TYPE"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "ListSpecs returns the types that can be created."

    problem: str
    type: str

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """The field `type`."""
        return (FieldViolation("type", self.problem),)


@dataclass(eq=False)
class InvalidArgs(SpinCycleError):
    """{problem}"""

    reason = "INVALID_ARGS"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Correct the arguments named in the message; ListSpecs describes them."

    problem: str
    type: str
    args: tuple[FieldViolation, ...] = ()

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """One entry per invalid argument."""
        return self.args


@dataclass(eq=False)
class ChainNotBuilt(SpinCycleError):
    """{problem}"""

    reason = "CHAIN_NOT_BUILT"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Correct the argument or the spec that the message names."

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
        "Expand nodes over fewer elements, and pass jobs the name of a file instead of a large "
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
    """{threads} calls of a job's create have not returned; no request can be created until some
    return or this copy of the request manager is restarted"""

    reason = "CREATE_STUCK"
    code = "RESOURCE_EXHAUSTED"
    http = 503
    retryable = True
    remedy = "The log names the job types; find out what their `create` waits for."

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
    """the plan's hash is now {actual}, not {expected}; review the plan again before starting it"""

    reason = "PLAN_CHANGED"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = "Review the plan again, and start it with its new hash."

    expected: str
    actual: str


@dataclass(eq=False)
class InvalidState(SpinCycleError):
    """request in state {state}, expected state {expected}"""

    reason = "INVALID_STATE"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = "Get the request; its state has changed since you last read it."

    request_id: str
    state: str
    expected: str


@dataclass(eq=False)
class RerunNotEnded(SpinCycleError):
    """request {request_id} is run again by request {rerun_id}, which is {state} and has not ended;
    wait until it has ended, stop it, or allow concurrent reruns"""

    reason = "RERUN_NOT_ENDED"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = (
        "Wait until the request that the message names has ended, or stop it. To run both at once, "
        "set `allow_concurrent` (REST `allowConcurrent`, spinc `--again`)."
    )

    request_id: str
    rerun_id: str
    state: str


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
    """{waiting} lint calls are already waiting; try again in a moment"""

    reason = "LINT_BUSY"
    code = "RESOURCE_EXHAUSTED"
    http = 503
    retryable = True
    remedy = "Try again, or check the files with `spincycle lint`."

    waiting: int
