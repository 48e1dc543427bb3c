"""The job chain as plain values, shared by the graph, the runner and the wire codecs."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TypeAlias

from spincycle.model.state import State

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
"""A JSON value: the type of job arguments and job data."""

VALUE_DEPTH = 24
"""Maximum nesting of lists and objects in a value. Protobuf parsers are limited to 100 levels of
messages; an object takes three, and the enclosing messages some more."""

LARGEST_INT = 2**53 - 1
"""Largest absolute value of an integer that is stored exactly everywhere. Numbers on the wire are
doubles, which round larger integers: those must be passed as text."""

_SECRET_ARGS = attrgetter("secret_args")

NOOP = "noop"
"""Type of structural jobs, and of the job that does nothing."""


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """Growth of the wait between tries of a job: wait * factor^(tries - 1), at most `max_wait`.

    Attributes:
        factor: ratio of consecutive waits, at least 1.
        max_wait: maximum wait in seconds; None means no limit.
        jitter: random fraction of each wait, 0 to 1.
    """

    factor: float = 1.0
    max_wait: float | None = None
    jitter: float = 0.0


@dataclass(slots=True)
class ChainJob:
    """One job of a chain; see spincycle.v1.Job for its fields.

    `args` is None if the job has no arguments, so that REST can omit the field. `timeout` and
    `sequence_timeout` are seconds. `secret_args` names the entries of `args` that are never shown;
    `bytes` of such a job is not shown either. `path` is empty in a chain that was stored before
    jobs had paths.
    """

    id: str
    name: str
    type: str
    bytes: bytes = b""
    state: State = State.PENDING
    args: dict[str, Value] | None = None
    data: dict[str, Value] = field(default_factory=dict)
    retry: int = 0
    retry_wait: str = ""
    sequence_id: str = ""
    sequence_retry: int = 0
    sequence_retry_wait: str = ""
    structural: bool = False
    timeout: float | None = None
    sequence_timeout: float | None = None
    backoff: BackoffPolicy | None = None
    fail_if_interrupted: bool = False
    parent_sequence_id: str = ""
    secret_args: tuple[str, ...] = ()
    path: str = ""

    @property
    def display_name(self) -> str:
        """Text that shows the job to a person: its path, or its name if it has none."""
        return self.path or self.name


@dataclass(frozen=True, slots=True)
class ParallelLimit:
    """A limit of the elements of one expanded node that run at the same time.

    Attributes:
        limit: maximum number of running elements, at least 1.
        elements: (first job id, last job id) of each element, in list order.
    """

    limit: int
    elements: tuple[tuple[str, str], ...]


@dataclass(slots=True, weakref_slot=True)
class JobChain:
    """A directed acyclic graph of jobs with one source and one sink.

    Attributes:
        jobs: the jobs by id, in creation order, which is a topological order.
        next_jobs: direct successors by job id; jobs without successors have no key.
        timeout: maximum seconds from the request's start to its end; None means no limit.
        required_features: names of features that a runner must support; see chain.features.
    """

    request_id: str
    jobs: dict[str, ChainJob] = field(default_factory=dict)
    next_jobs: dict[str, list[str]] = field(default_factory=dict)
    state: State = State.PENDING
    finished_jobs: int = 0
    parallel_limits: list[ParallelLimit] = field(default_factory=list)
    timeout: float | None = None
    required_features: tuple[str, ...] = ()


def has_secret_args(chain: JobChain) -> bool:
    """Return whether any job of a chain has secret arguments."""
    return any(map(_SECRET_ARGS, chain.jobs.values()))


@dataclass(frozen=True, slots=True)
class SuspendedPeriod:
    """A time for which a caller had suspended a request, in nanoseconds since 1970, UTC."""

    suspended_at: int
    resumed_at: int


@dataclass(slots=True)
class SuspendedJobChain:
    """A suspended chain with its counters; see spincycle.v1.SuspendedJobChain.

    Attributes:
        sequence_started_at: nanoseconds since 1970, UTC, by the id of the sequence's first job.
    """

    request_id: str
    job_chain: JobChain
    total_job_tries: dict[str, int] = field(default_factory=dict)
    latest_run_job_tries: dict[str, int] = field(default_factory=dict)
    sequence_tries: dict[str, int] = field(default_factory=dict)
    epoch: int = 0
    journal_position: int = 0
    sequence_started_at: dict[str, int] = field(default_factory=dict)
    suspended_periods: list[SuspendedPeriod] = field(default_factory=list)
