"""Types of the jobs that a runner may still have to run for a chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from spincycle.model.job_chain import JobChain, SuspendedJobChain


class JobLike(Protocol):
    """The relevant fields, which both `job_chain.ChainJob` and the message of a job have."""

    @property
    def id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def state(self) -> int: ...
    @property
    def structural(self) -> bool: ...
    @property
    def sequence_id(self) -> str: ...
    @property
    def sequence_retry(self) -> int: ...
    @property
    def parent_sequence_id(self) -> str: ...


class RemainingJobTypes:
    """Collects the types from the jobs of a partially run chain, which may be added in parts.

    A job counts until it is COMPLETE, and after that for as long as a retry of a sequence around
    it can run it again. Structural jobs need no type. Takes O(jobs) time and O(sequences) memory.
    """

    def __init__(self) -> None:
        self._incomplete: set[str] = set()
        self._complete: dict[str, set[str]] = {}
        self._active: set[str] = set()
        self._sequences: dict[str, tuple[str, int]] = {}

    def add(self, jobs: Iterable[JobLike]) -> None:
        """Add jobs; add all of a chain's jobs in creation order."""
        for job in jobs:
            sequence_id = job.sequence_id
            if sequence_id and sequence_id == job.id:
                self._sequences[sequence_id] = (job.parent_sequence_id, job.sequence_retry)
            if job.state != State.COMPLETE:
                self._active.add(sequence_id)
                if not job.structural:
                    self._incomplete.add(job.type)
            elif not job.structural:
                self._complete.setdefault(sequence_id, set()).add(job.type)

    def types(self, sequence_tries: Mapping[str, int]) -> frozenset[str]:
        """Return the types; `sequence_tries` is the number of tries of each sequence by id."""
        active: set[str] = set()
        for sequence_id in self._active:
            while sequence_id and sequence_id not in active:
                active.add(sequence_id)
                sequence_id = self._sequences.get(sequence_id, ("", 0))[0]
        types = set(self._incomplete)
        repeatable: set[str] = set()
        # The sequence around another one was created before it.
        for sequence_id, (parent_id, retry) in self._sequences.items():
            has_tries = sequence_tries.get(sequence_id, 0) <= retry
            if parent_id in repeatable or (retry and has_tries and sequence_id in active):
                repeatable.add(sequence_id)
                types |= self._complete.get(sequence_id, set())
        return frozenset(types)


def job_types(chain: JobChain) -> frozenset[str]:
    """Return the types of all jobs of a new chain."""
    return frozenset({job.type for job in chain.jobs.values() if not job.structural})


def remaining_job_types(suspended: SuspendedJobChain) -> frozenset[str]:
    """Return the types of the jobs that a suspended chain may still have to run."""
    remaining = RemainingJobTypes()
    remaining.add(suspended.job_chain.jobs.values())
    return remaining.types(suspended.sequence_tries)
