"""Errors between request managers, job runners and the job log."""

from __future__ import annotations

from dataclasses import dataclass

from spincycle.errors.base import SpinCycleError


@dataclass(eq=False)
class StaleEpoch(SpinCycleError):
    """request {request_id} is at epoch {current}, and this report carries epoch {epoch}: another
    runner owns the request, and the caller must abandon the chain"""

    reason = "STALE_EPOCH"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = "No action needed: the runner abandons the chain."

    request_id: str
    epoch: int
    current: int


@dataclass(eq=False)
class FenceTooHigh(SpinCycleError):
    """request {request_id} cannot be fenced under epoch {epoch}: above {limit}, an epoch must be
    exactly one more than the current epoch {current}"""

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
    """the journal has a different entry for try {try_number} of job {job_id} of request
    {request_id}"""

    reason = "ENTRY_CONFLICT"
    code = "ALREADY_EXISTS"
    http = 409
    remedy = "No action needed: two runners ran the job, and the journal keeps the first entry."

    request_id: str
    job_id: str
    try_number: int


@dataclass(eq=False)
class InvalidEntry(SpinCycleError):
    """{problem}"""

    reason = "INVALID_ENTRY"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Fix the runner that sent the entry."

    request_id: str
    job_id: str
    problem: str


@dataclass(eq=False)
class InvalidChain(SpinCycleError):
    """{problem}"""

    reason = "INVALID_CHAIN"
    code = "INVALID_ARGUMENT"
    http = 400
    remedy = "Create the request again; the new chain will be valid."

    request_id: str
    problem: str


@dataclass(eq=False)
class FeatureNotSupported(SpinCycleError):
    """request {request_id} requires features that this job runner does not support: {features}"""

    reason = "FEATURE_NOT_SUPPORTED"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = (
        "Start a job runner of the version that created the request; the request waits until then."
    )

    request_id: str
    features: str


@dataclass(eq=False)
class ChainTooLarge(SpinCycleError):
    """the chain of request {request_id} has {jobs} jobs and does not fit in one message; call
    StreamJobChain, which streams it"""

    reason = "CHAIN_TOO_LARGE"
    code = "RESOURCE_EXHAUSTED"
    http = 413
    remedy = "Call StreamJobChain, and omit include_job_chain in other calls."

    request_id: str
    jobs: int


@dataclass(eq=False)
class RunnerUnknown(SpinCycleError):
    """runner {runner_id} is unknown or was evicted; abandon its chains and register under a new
    id"""

    reason = "RUNNER_UNKNOWN"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = "No action needed: the runner registers again."

    runner_id: str


@dataclass(eq=False)
class WrongRunner(SpinCycleError):
    """the call is for runner {expected}, but reached runner {actual}"""

    reason = "WRONG_RUNNER"
    code = "FAILED_PRECONDITION"
    http = 409
    remedy = "No action needed: the request manager assigns the request to another runner."

    expected: str
    actual: str


@dataclass(eq=False)
class RunnerFull(SpinCycleError):
    """the runner already has {limit} chains, its maximum"""

    reason = "RUNNER_FULL"
    code = "RESOURCE_EXHAUSTED"
    http = 503
    retryable = True
    remedy = "Start another runner, or raise max_chains; the request waits until then."

    limit: int


@dataclass(eq=False)
class RunnerDraining(SpinCycleError):
    """the Job Runner is shutting down and accepts no new chains"""

    reason = "RUNNER_DRAINING"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "No action needed: the request manager assigns the request to another runner."


@dataclass(eq=False)
class JournalBehind(SpinCycleError):
    """the Job Runner accepts no new chains: too many journal entries wait for the job log"""

    reason = "JOURNAL_BEHIND"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Find out why the job log is slow or unavailable; the request waits until then."


@dataclass(eq=False)
class RunnerUnreachable(SpinCycleError):
    """runner {runner_id} at {address} does not respond: {cause}"""

    reason = "RUNNER_UNREACHABLE"
    code = "UNAVAILABLE"
    http = 503
    retryable = True
    remedy = "Check that the runner is running and reachable from the request manager."

    runner_id: str
    address: str
    cause: str
