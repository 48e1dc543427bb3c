"""Requests and runners as the use cases see them: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from spincycle.model.job_chain import Value
from spincycle.model.request_arg import RequestArg
from spincycle.model.state import State
from spincycle.request_manager.storage.actor import Actor
from spincycle.request_manager.storage.heartbeats import HeartbeatId

FIRST_EPOCH = 1
"""Epoch of the first assignment of a request."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """Features and job types that a runner must have to run a request.

    Attributes:
        features: names of the chain features that it must support.
        job_types: types of the jobs that remain to be run; empty if there are none, or if they
            are not known.
    """

    features: frozenset[str] = frozenset()
    job_types: frozenset[str] = frozenset()


NO_REQUIREMENTS = Requirements()
"""Requirements of a request that any runner can run."""


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A request to be stored.

    Attributes:
        given_args: arguments of the caller, each value as text.
        create_request: the call in the format of the original API.
        content_hash: hash that distinguishes calls with the same idempotency key.
        job_chain: the chain, serialized.
        max_running: most requests of the type that run at once; None means no limit.
        has_secrets: whether arguments of the request or of jobs are secret.
        approved_plan_hash: plan that the caller expected; empty if it expected none.
        open_limit: most requests of the user that have not ended, this one included; None means no
            limit.
    """

    request_id: str
    type: str
    actor: Actor
    created_at: datetime
    total_jobs: int
    priority: int
    spec_revision: str
    plan_hash: str
    given_args: dict[str, str]
    create_request: dict[str, Value]
    content_hash: str
    args: list[RequestArg]
    job_chain: bytes
    idempotency_key: str = ""
    max_running: int | None = None
    open_limit: int | None = None
    requirements: Requirements = NO_REQUIREMENTS
    has_secrets: bool = False
    approved_plan_hash: str = ""


@dataclass(frozen=True, slots=True)
class Rerun:
    """A rerun of another request, to be stored.

    Attributes:
        finished_jobs: number of jobs that are kept from the other request.
        action: action in the audit log: rerun or skip.
        job_id: job that is skipped; empty if none is.
        job_chain: the chain, serialized.
        suspended_job_chain: the state from which it is resumed, serialized.
        job_types: types of the jobs that remain to be run.
        allow_concurrent: whether it is stored beside other live reruns of the same root.
        has_secrets: whether arguments of jobs are secret.
    """

    request_id: str
    rerun_of: str
    actor: Actor
    created_at: datetime
    finished_jobs: int
    action: str
    job_id: str
    reason: str
    idempotency_key: str
    content_hash: str
    job_chain: bytes
    suspended_job_chain: bytes
    job_types: frozenset[str]
    allow_concurrent: bool
    has_secrets: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A stored request; spincycle.v1.Request documents the other fields.

    Attributes:
        desired_state: STOPPED or SUSPENDED if that is requested and not reached yet.
        given_args: arguments of the caller, each as text, as a JSON object.
        required_features: names of the chain features that a runner must support.
        job_types: types of the jobs that remain to be run, as in Requirements.
    """

    request_id: str
    type: str
    state: State
    user: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    total_jobs: int
    finished_jobs: int
    rolled_back_jobs: int
    epoch: int
    runner_id: str
    runner_address: str
    priority: int
    reason: str
    spec_revision: str
    plan_hash: str
    rerun_of: str
    desired_state: State | None
    max_running: int | None = None
    given_args: str = "{}"
    required_features: frozenset[str] = frozenset()
    job_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits for a runner.

    Attributes:
        limited: whether its type has a limit of running requests.
    """

    limited: bool
    requirements: Requirements


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Criteria of requests to list; all that are set must match.

    Attributes:
        types: types that the caller may view; None means all.
    """

    type: str = ""
    types: frozenset[str] | None = None
    states: tuple[State, ...] = ()
    user: str = ""
    args: dict[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class PagePosition:
    """A position in the list of requests: after this request."""

    created_at: datetime
    request_id: str


@dataclass(frozen=True, slots=True)
class DesiredState:
    """A desired state of a request, STOPPED or SUSPENDED, set by a user for a reason."""

    request_id: str
    state: State
    actor: Actor
    reason: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """A request that was just assigned to a runner.

    Attributes:
        resumed: it ran before, so there may be a saved state.
        assigned_at: time.monotonic() shortly before this process assigned it; minus infinity if
            another process did, which may have sent it, too.
    """

    request_id: str
    runner_id: str
    epoch: int
    resumed: bool
    assigned_at: float = field(default=float("-inf"), compare=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of a request manager on a request; two are compared for equality only.

    Attributes:
        until: time of the database at which it ends, calculated when it was made.
    """

    request_id: str
    epoch: int
    until: datetime | None


class FenceMismatch(Exception):
    """The journal of a request is fenced under an epoch other than that of the request.

    Attributes:
        in_force: lowest epoch whose entries the journal accepts.
    """

    def __init__(self, in_force: int) -> None:
        super().__init__(f"fenced under epoch {in_force}")
        self.in_force = in_force


@dataclass(frozen=True, slots=True)
class ChainHolder:
    """The holder of a chain according to the row of its request.

    Attributes:
        runner_id: runner to which the request is assigned; empty if it is not assigned.
    """

    request_id: str
    epoch: int
    state: State
    runner_id: str
    orphaned: bool


@dataclass(frozen=True, slots=True)
class Orphan:
    """A request that was claimed for recovery, under its new epoch.

    Attributes:
        losses_since: epoch from which lost runners are counted.
        started_at: nanoseconds since 1970; 0 if no runner is known to have accepted it.
    """

    request_id: str
    epoch: int
    runner_id: str
    losses_since: int
    started_at: int


@dataclass(frozen=True, slots=True)
class Runner:
    """A live job runner; limits of 0 mean none.

    Attributes:
        journal_lag: seconds for which its oldest journal entry was waiting at its last heartbeat.
        loop_lag: seconds by which its event loop was late at its last heartbeat.
        heartbeat: its last heartbeat in the database.
        requests: number of requests assigned to it.
        features: names of the chain features that it supports.
        job_types: types of jobs that it can run; empty if it did not report them.
        identity: SPIFFE ID that registered it; empty if callers were not identified.
    """

    runner_id: str
    address: str
    max_chains: int
    max_jobs: int
    chains: int
    jobs: int
    draining: bool
    journal_lag: float
    heartbeat: HeartbeatId
    requests: int
    features: frozenset[str] = frozenset()
    job_types: frozenset[str] = frozenset()
    loop_lag: float = 0.0
    identity: str = ""

    def has_job_types(self, job_types: frozenset[str]) -> bool:
        """Return whether the runner can run jobs of all these types."""
        return not self.job_types or job_types <= self.job_types

    def can_run(self, requirements: Requirements) -> bool:
        """Return whether the runner meets the requirements of a request."""
        return requirements.features <= self.features and self.has_job_types(requirements.job_types)


@dataclass(frozen=True, slots=True)
class QueuedRequests:
    """Requests that wait for a runner, without those that wait for the limit of their type.

    Attributes:
        pending: number of new requests.
        suspended: number of requests to be resumed.
        oldest: seconds since the oldest new request was created; 0 if there is none.
    """

    pending: int
    suspended: int
    oldest: float


ReportKey = tuple[str, int, str]
"""Request id, epoch and runner id of a report."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A report of a runner that a request has ended.

    Attributes:
        running_time: seconds for which the runner ran the chain; 0 if it did not measure them.
        runner_id: runner that reports, to which the request must be assigned; empty for calls that
            may report for any runner.
    """

    request_id: str
    epoch: int
    state: State
    finished_at: datetime
    finished_jobs: int
    reason: str = ""
    running_time: float = 0.0
    runner_id: str = ""


@dataclass(frozen=True, slots=True)
class Progressed:
    """A report of a runner on the progress of a request.

    Attributes:
        runner_id: as in Finished.
    """

    request_id: str
    epoch: int
    finished_jobs: int
    rolled_back_jobs: int = 0
    runner_id: str = ""


@dataclass(frozen=True, slots=True)
class Suspended:
    """The saved state of a request that was suspended by its runner or rebuilt by the recovery.

    Attributes:
        suspended_job_chain: a spincycle.v1.SuspendedJobChain, serialized.
        reason: why the request waits; not stored if it has a desired state.
        job_types: types of the jobs that remain to be run.
        wait: seconds until it may be assigned to a runner.
        runner_id: as in Finished; empty for the recovery, too.
        has_secrets: whether arguments of jobs are secret.
    """

    request_id: str
    epoch: int
    finished_jobs: int
    reason: str
    suspended_job_chain: bytes
    job_types: frozenset[str] = frozenset()
    wait: float = 0.0
    runner_id: str = ""
    has_secrets: bool = False


Report = Finished | Progressed | Suspended
"""A report of a runner on one request."""


def report_key(report: Report) -> ReportKey:
    """Return the key of a report. Reports of different runners never replace each other."""
    return report.request_id, report.epoch, report.runner_id
