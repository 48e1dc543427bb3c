"""Requests and runners as the use cases see them: plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from spincycle.model.job_chain import Value
from spincycle.model.request_arg import RequestArg
from spincycle.model.state import State
from spincycle.request_manager.storage.heartbeats import HeartbeatId

FIRST_EPOCH = 1
"""Epoch of a request that was given to a runner for the first time."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a runner must have to run a request.

    Attributes:
        features: what it must support in chains, by name.
        job_types: types of the jobs that are left to run; empty if there are none, or if they
            are not known.
    """

    features: frozenset[str] = frozenset()
    job_types: frozenset[str] = frozenset()


NO_REQUIREMENTS = Requirements()
"""What a request requires that any runner can run."""


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A request that is about to be stored.

    Attributes:
        given_args: what the caller gave, each value as text.
        create_request: the call as it was made.
        content_hash: what tells two calls with one idempotency key apart.
        job_chain: the chain, serialized.
        max_running: most requests of the type that run at once; None means no limit.
        requirements: what a runner must have to run the request.
    """

    request_id: str
    type: str
    user: str
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
    requirements: Requirements = NO_REQUIREMENTS


@dataclass(frozen=True, slots=True)
class Rerun:
    """A request that runs another one again, about to be stored.

    Attributes:
        finished_jobs: jobs that are kept from the other request.
        action: what the audit calls it: rerun or skip.
        job_id: job that is skipped; empty if none is.
        job_chain: the chain, serialized.
        suspended_job_chain: the state in which it goes on, serialized.
        job_types: types of the jobs that are left to run.
    """

    request_id: str
    rerun_of: str
    user: str
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


@dataclass(frozen=True, slots=True)
class Request:
    """A stored request; see spincycle.v1.Request for what each field means.

    Attributes:
        given_args: arguments that were given, each as text, as a JSON object.
        required_features: what a runner must support to run the chain, by name.
        job_types: types of the jobs that are left to run, as Requirements has them.
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
        requirements: what the runner must have.
    """

    limited: bool
    requirements: Requirements


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests to list; what is set must all hold."""

    type: str = ""
    states: tuple[State, ...] = ()
    user: str = ""
    args: dict[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class PagePosition:
    """A place in the list of requests: after this one, or after so many of the first."""

    created_at: datetime
    request_id: str


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What somebody wants of a request: that it is STOPPED or SUSPENDED, and why."""

    request_id: str
    state: State
    user: str
    reason: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """A request that was just given to a runner.

    Attributes:
        resumed: it ran before, so there may be a saved state.
        given_at: time.monotonic() shortly before this process gave it to the runner; long ago if
            another one did, who may have sent it, too.
    """

    request_id: str
    runner_id: str
    epoch: int
    resumed: bool
    given_at: float = field(default=float("-inf"), compare=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of a request manager on a request; two are compared for equality only.

    Attributes:
        until: time of the database at which it ends, calculated when it was made.
    """

    request_id: str
    epoch: int
    until: datetime | None


class OtherFence(Exception):
    """The journal of a request is fenced under another epoch than that of the request.

    Attributes:
        in_force: lowest epoch whose entries the journal accepts.
    """

    def __init__(self, in_force: int) -> None:
        super().__init__(f"fenced under epoch {in_force}")
        self.in_force = in_force


@dataclass(frozen=True, slots=True)
class ChainHolder:
    """Where the row of a request says that its chain is.

    Attributes:
        runner_id: runner that has the request; empty if none has.
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
        losses_since: epoch from which on lost runners are counted.
    """

    request_id: str
    epoch: int
    runner_id: str
    losses_since: int


@dataclass(frozen=True, slots=True)
class Runner:
    """A job runner that is not gone; limits of 0 mean none.

    Attributes:
        journal_lag: seconds for which its oldest journal entry was waiting at its last beat.
        heartbeat: its last one, as the database had it.
        requests: how many it has, or was given just now.
        features: what it supports in chains, by name.
        job_types: types of jobs that it can run; empty if it has not said which.
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

    def has_job_types(self, job_types: frozenset[str]) -> bool:
        """Whether it can run jobs of all these types."""
        return not self.job_types or job_types <= self.job_types

    def can_run(self, requirements: Requirements) -> bool:
        """Whether it has what a request requires."""
        return requirements.features <= self.features and self.has_job_types(requirements.job_types)


@dataclass(frozen=True, slots=True)
class QueuedRequests:
    """What waits for a runner, but for what waits for the limit of its type.

    Attributes:
        pending: new requests.
        suspended: requests to be resumed.
        oldest: seconds since the oldest new one was made; 0 if there is none.
    """

    pending: int
    suspended: int
    oldest: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a request as its runner reports it; epoch 0 means that none is known.

    Attributes:
        running_time: seconds for which the runner ran its chain; 0 if it did not measure that.
    """

    request_id: str
    epoch: int
    state: State
    finished_at: datetime
    finished_jobs: int
    reason: str = ""
    running_time: float = 0.0


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far a request is, as its runner reports it."""

    request_id: str
    epoch: int
    finished_jobs: int
    rolled_back_jobs: int = 0


@dataclass(frozen=True, slots=True)
class Suspended:
    """The saved state of a request.

    Attributes:
        suspended_job_chain: a spincycle.v1.SuspendedJobChain, serialized.
        reason: why it waits, unless somebody wished it.
        job_types: types of the jobs that are left to run.
        wait: seconds until a runner may have it.
    """

    request_id: str
    epoch: int
    finished_jobs: int
    reason: str
    suspended_job_chain: bytes
    job_types: frozenset[str] = frozenset()
    wait: float = 0.0


Report = Finished | Progressed | Suspended
"""News of one request from its runner."""
