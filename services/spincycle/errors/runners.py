"""What is wrong between runners, the journal and the chains that they run."""

from __future__ import annotations

from dataclasses import dataclass

from spincycle.errors.base import SpinCycleError


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
class FenceTooHigh(SpinCycleError):
    """request {request_id} cannot be fenced under epoch {epoch}: beyond {limit} an epoch may only
    be one more than the one in force, which is {current}"""

    reason = "FENCE_TOO_HIGH"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = "Fence under an epoch that the request manager has committed for the request."

    request_id: str
    epoch: int
    current: int
    limit: int


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
class FeatureNotSupported(SpinCycleError):
    """request {request_id} requires features that this job runner does not support: {features}"""

    reason = "FEATURE_NOT_SUPPORTED"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = (
        "Start a job runner of the version that created the request; the request waits for one."
    )

    request_id: str
    features: str


@dataclass(eq=False)
class ChainTooLarge(SpinCycleError):
    """the chain of request {request_id} has {jobs} jobs and does not fit one message; call
    StreamJobChain, which streams it"""

    reason = "CHAIN_TOO_LARGE"
    code = "RESOURCE_EXHAUSTED"
    http = 413
    remedy = "Call StreamJobChain, and leave include_job_chain out elsewhere."

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
