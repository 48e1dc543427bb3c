"""Registrations and heartbeats of runners as the use cases see them: plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class HeartbeatId:
    """Identifies one heartbeat of a runner; two are compared for equality only.

    Attributes:
        observer: id of the request manager process that received it.
        number: its number among those that this process received.
    """

    observer: str
    number: int


@dataclass(frozen=True, slots=True)
class Registration:
    """Properties that a runner reports at start; limits of 0 mean none.

    Attributes:
        identity: SPIFFE ID of the caller; empty if callers are not identified.
    """

    runner_id: str
    address: str
    max_chains: int
    max_jobs: int
    job_types: tuple[str, ...]
    version: str
    features: tuple[str, ...] = ()
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Load and status that a runner reports with each heartbeat.

    Attributes:
        journal_lag: seconds for which its oldest journal entry has been waiting.
        loop_lag: seconds by which its event loop was late.
        identity: SPIFFE ID of the caller; empty if callers are not identified.
    """

    runner_id: str
    chains: int
    jobs: int
    draining: bool
    leaving: bool
    journal_lag: float
    loop_lag: float = 0.0
    identity: str = ""


@dataclass(frozen=True, slots=True)
class RunnerOwner:
    """Registration of a runner id by a service.

    Attributes:
        identity: SPIFFE ID; empty if callers were not identified.
        is_live: whether the runner has neither left nor been evicted.
    """

    identity: str
    is_live: bool


@dataclass(frozen=True, slots=True)
class StoredHeartbeat:
    """A heartbeat, or a registration, which counts as one, after it was stored.

    Attributes:
        at: time of the database.
    """

    heartbeat: HeartbeatId
    at: datetime


@dataclass(frozen=True, slots=True)
class StopSignals:
    """Requests of one runner whose desired state is STOPPED or SUSPENDED.

    Attributes:
        chains_digest: of the requests that are RUNNING on the runner, as a runner computes it.
        stored: the heartbeat to which these are the response.
    """

    stop: tuple[str, ...]
    suspend: tuple[str, ...]
    chains_digest: int
    stored: StoredHeartbeat


@dataclass(frozen=True, slots=True)
class LiveRunner:
    """A runner that has neither left nor been evicted, with its last heartbeat.

    Attributes:
        registration: rises from one registered runner to the next.
        identity: SPIFFE ID that registered it; empty if callers were not identified.
    """

    runner_id: str
    address: str
    registration: int
    heartbeat: HeartbeatId
    identity: str = ""


@dataclass(frozen=True, slots=True)
class EvictionResult:
    """Result of an eviction.

    Attributes:
        evicted: ids of the runners that were evicted by it.
        live: the runners that are live after it.
    """

    evicted: Sequence[str]
    live: Sequence[LiveRunner]
