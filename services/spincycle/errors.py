"""The catalogue of everything that can go wrong and that a caller is told.

Each class is one entry: its docstring is the message, with the fields in braces, and its
fields become ErrorInfo metadata on gRPC, keys of the log line, and parts of the REST body.
docs/errors.md is printed from these classes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing that is wrong with the input.

    Attributes:
        field: path of the field, for example `args.hosts`.
        description: what is wrong with it and what to do.
    """

    field: str
    description: str


class SpinCycleError(Exception):
    """The base of the catalogue; never raised itself.

    Attributes:
        reason: stable name in upper snake case.
        code: name of the gRPC status code.
        http: HTTP status under which the gateway answers it.
        retryable: whether the same call can be made again without harm and with hope.
        retry_after: seconds that a caller had better wait before that.
        remedy: what to do about it, for the table in docs/errors.md.
    """

    reason: str
    code: str
    http: int
    retryable: bool = False
    retry_after: float = 1.0
    remedy: str

    @property
    def message(self) -> str:
        """The sentence for a person."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type] # every entry is a dataclass
        return " ".join((type(self).__doc__ or "").split()).format(**values)

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """What is wrong with the input, field by field; empty for most errors."""
        return ()

    @property
    def metadata(self) -> dict[str, str]:
        """The plain fields as text, for ErrorInfo."""
        plain: dict[str, str] = {}
        for field in fields(self):  # type: ignore[arg-type] # every entry is a dataclass
            value = getattr(self, field.name)
            if isinstance(value, str | int | float) and value != "":
                plain[field.name] = str(value)
        return plain

    @property
    def request_id_or_empty(self) -> str:
        """Request that the failure is about."""
        return str(getattr(self, "request_id", ""))

    def __str__(self) -> str:
        return self.message


@dataclass(eq=False)
class RequestNotFound(SpinCycleError):
    """request {request_id} not found"""

    reason = "REQUEST_NOT_FOUND"
    code = "NOT_FOUND"
    http = 404
    remedy = "Check the request id; List finds requests."

    request_id: str


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
class StaleEpoch(SpinCycleError):
    """request {request_id} has epoch {current} now, and this report carries {epoch}: another
    runner owns it, so this one must abandon the chain"""

    reason = "STALE_EPOCH"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = "Nothing, for people: the runner lets go of the chain by itself."

    request_id: str
    epoch: int
    current: int


@dataclass(eq=False)
class EntryConflict(SpinCycleError):
    """another entry stands in the journal for try {try_number} of job {job_id} of request
    {request_id}"""

    reason = "ENTRY_CONFLICT"
    code = "ALREADY_EXISTS"
    http = 409
    remedy = "Nothing, for people: two runners had the job, and the first entry stands."

    request_id: str
    job_id: str
    try_number: int


@dataclass(eq=False)
class InvalidEntry(SpinCycleError):
    """{problem}"""

    reason = "INVALID_ENTRY"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Mend the runner that sent the entry."

    request_id: str
    job_id: str
    problem: str


@dataclass(eq=False)
class InvalidChain(SpinCycleError):
    """{problem}"""

    reason = "INVALID_CHAIN"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Create the request again; a chain that is made anew is valid."

    request_id: str
    problem: str


@dataclass(eq=False)
class ChainTooLarge(SpinCycleError):
    """the chain of request {request_id} has {jobs} jobs and does not fit one message; call
    FetchJobChain, which streams it"""

    reason = "CHAIN_TOO_LARGE"
    code = "RESOURCE_EXHAUSTED"
    http = 413
    remedy = "Call FetchJobChain, and leave include_job_chain out elsewhere."

    request_id: str
    jobs: int


@dataclass(eq=False)
class RunnerUnknown(SpinCycleError):
    """runner {runner_id} is not known or was given up; abandon its chains and register again
    under a new id"""

    reason = "RUNNER_UNKNOWN"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = "Nothing, for people: the runner registers again by itself."

    runner_id: str


@dataclass(eq=False)
class WrongRunner(SpinCycleError):
    """here is runner {actual}, not {expected}"""

    reason = "WRONG_RUNNER"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = "Nothing, for people: the request goes to another runner."

    expected: str
    actual: str


@dataclass(eq=False)
class RunnerFull(SpinCycleError):
    """the runner has {limit} chains, as many as it may"""

    reason = "RUNNER_FULL"
    code = "RESOURCE_EXHAUSTED"
    http = 503
    retryable = True
    remedy = "Start another runner, or raise max_chains; the request waits meanwhile."

    limit: int


@dataclass(eq=False)
class RunnerDraining(SpinCycleError):
    """the Job Runner is shutting down and takes no new chains"""

    reason = "RUNNER_DRAINING"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Nothing: the request goes to another runner."


@dataclass(eq=False)
class JournalBehind(SpinCycleError):
    """the Job Runner takes no new chains: too much of what it ran waits for the job log"""

    reason = "JOURNAL_BEHIND"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "See why the job log is slow or away; the request waits meanwhile."


@dataclass(eq=False)
class RunnerUnreachable(SpinCycleError):
    """runner {runner_id} at {address} does not answer: {cause}"""

    reason = "RUNNER_UNREACHABLE"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "See whether that runner lives and can be reached from the request manager."

    runner_id: str
    address: str
    cause: str


@dataclass(eq=False)
class DatabaseUnavailable(SpinCycleError):
    """the database cannot be reached; try again in a moment, a create with the same idempotency
    key"""

    reason = "DATABASE_UNAVAILABLE"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Try again; if it lasts, see whether PostgreSQL lives and can be reached."


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
    remedy = "Ask for less: a page, a filter, FetchJobChain in place of include_job_chain."

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


def catalogue() -> dict[str, type[SpinCycleError]]:
    """Every entry by its reason, in order of definition."""
    return {entry.reason: entry for entry in SpinCycleError.__subclasses__()}
