"""The job chain as plain values: what the graph makes, the runner walks and the wire carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from spincycle.model.state import State

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
"""Anything JSON can say: the values of job arguments and job data."""

VALUE_DEPTH = 24
"""Levels of lists and objects that a value may have. Parsers of protobuf stop at 100 levels of
messages; an object takes three, and the messages around it some."""

LARGEST_INT = 2**53 - 1
"""Largest whole number, on either side of 0, that is kept exactly everywhere. Numbers on the wire
are doubles, and one beyond it can stand for several whole numbers: larger ones must be text."""

NOOP = "noop"
"""Type of structural jobs, and of the job that does nothing."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How the wait between tries grows: wait * factor^(tries - 1), at most `max_wait`.

    Attributes:
        factor: growth from one wait to the next, from 1.
        max_wait: longest wait in seconds; None means no limit.
        jitter: part of each wait that is drawn at random, 0 to 1.
    """

    factor: float = 1.0
    max_wait: float | None = None
    jitter: float = 0.0


@dataclass(slots=True)
class ChainJob:
    """One job of a chain; see spincycle.v1.Job for what each field means.

    `args` is None where the job was given none, so that the REST shape can leave it out.
    `timeout` and `sequence_timeout` are seconds. `secret_args` names the entries of `args`
    that are never shown; `bytes` of such a job is not shown either.
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
    backoff: Backoff | None = None
    fail_if_interrupted: bool = False
    parent_sequence_id: str = ""
    secret_args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParallelLimit:
    """A sliding window over the elements of one expanded node.

    Attributes:
        limit: most elements in flight, from 1.
        elements: (first job id, last job id) of each element, in list order.
    """

    limit: int
    elements: tuple[tuple[str, str], ...]


@dataclass(slots=True, weakref_slot=True)
class JobChain:
    """A directed acyclic graph of jobs with one source and one sink.

    Attributes:
        jobs: the jobs by id, in creation order, which is a topological order.
        next_jobs: direct successors by job id; jobs without any have no key.
        timeout: seconds from the request's start to its end; None means no limit.
        required_features: what a runner must support to run it, by name; see chain.features.
    """

    request_id: str
    jobs: dict[str, ChainJob] = field(default_factory=dict)
    next_jobs: dict[str, list[str]] = field(default_factory=dict)
    state: State = State.PENDING
    finished_jobs: int = 0
    parallel_limits: list[ParallelLimit] = field(default_factory=list)
    timeout: float | None = None
    required_features: tuple[str, ...] = ()


@dataclass(slots=True)
class SuspendedJobChain:
    """A half-run chain with its counters; see spincycle.v1.SuspendedJobChain."""

    request_id: str
    job_chain: JobChain
    total_job_tries: dict[str, int] = field(default_factory=dict)
    latest_run_job_tries: dict[str, int] = field(default_factory=dict)
    sequence_tries: dict[str, int] = field(default_factory=dict)
    epoch: int = 0
    journal_position: int = 0
