"""A job chain while it grows: jobs with fresh ids, edges, limits on its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.graph.job_ids import IdsUsedUp, JobIds
from spincycle.graph.memory import TEXT_COPIES
from spincycle.model.job_chain import NOOP, ChainJob, JobChain, ParallelLimit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.graph.job_maker import SpecPlace
    from spincycle.graph.memory import ChainMemory
    from spincycle.model.job_chain import Value


@dataclass(frozen=True, slots=True)
class Limits:
    """What one expansion may use.

    Attributes:
        create_timeout: seconds for the create of one job.
        max_jobs: most jobs in a chain.
        max_edges: most links between jobs of a chain.
        max_bytes: most memory of a chain, in bytes as ChainMemory estimates them, and of all that
            are built and stored at a time.
        max_job_bytes: most memory of a job, likewise. Written, it is a third of that at most, and
            fits the messages between the services.
    """

    create_timeout: float = 10.0
    max_jobs: int = 200_000
    max_edges: int = 2_000_000
    max_bytes: int = 512 * 1024 * 1024
    max_job_bytes: int = 96 * 1024 * 1024


class ChainBuilder:
    """Adds jobs in creation order, which is a topological one."""

    def __init__(self, request_id: str, limits: Limits, ids: JobIds, memory: ChainMemory) -> None:
        self.chain = JobChain(request_id)
        self._memory = memory
        self._limits = limits
        self._ids = ids
        self._edges = 0

    def new_id(self, place: SpecPlace) -> str:
        """A job id.

        Raises:
            PlanTooLarge: the chain has as many jobs as it may.
        """
        jobs, most = len(self.chain.jobs), self._limits.max_jobs
        if jobs >= most:
            raise place.too_large(
                f"the request has more than {most} jobs", jobs, self._memory.size, most
            )
        try:
            return self._ids.new()
        except IdsUsedUp as error:
            raise place.error(str(error))

    def add(self, job: ChainJob, parents: Iterable[str], place: SpecPlace) -> None:
        """Put a job behind its parents.

        Raises:
            PlanTooLarge: the chain has as many edges as it may, or takes too much memory.
            Overloaded: other chains take the memory of this process now.
        """
        args = job.args
        size = self._memory.size_of_job(args.values() if args else (), job.bytes)
        if size > self._limits.max_job_bytes:
            raise place.too_large(
                f"one job takes {size} bytes of memory with its arguments; it may take "
                f"{self._limits.max_job_bytes}: give it fewer or smaller ones",
                len(self.chain.jobs), size, self._limits.max_job_bytes,
            )  # fmt: skip
        self.keep(size, place)
        self.chain.jobs[job.id] = job
        following = self.chain.next_jobs
        for parent in parents:
            self._edges += 1
            if parent in following:
                following[parent].append(job.id)
            else:
                following[parent] = [job.id]
        if self._edges > self._limits.max_edges:
            raise place.too_large(
                f"the request has more than {self._limits.max_edges} links between jobs: put a "
                f"{NOOP} job between repeated nodes that depend on each other",
                len(following), self._edges, self._limits.max_edges,
            )  # fmt: skip

    def keep(self, size: int, place: SpecPlace) -> None:
        """Count memory that the chain takes from here on, in bytes.

        Raises:
            PlanTooLarge: it is too much.
            Overloaded: other chains take the memory of this process now.
        """
        memory, limit = self._memory, self._limits.max_bytes
        if memory.size + size > limit:
            raise place.too_large(
                f"the request takes more than {limit} bytes of memory: {memory.size} for its "
                f"first {len(self.chain.jobs)} jobs, each with its own copy of its arguments; "
                "repeat the node over fewer elements, or give the jobs smaller arguments",
                len(self.chain.jobs), memory.size, limit,
            )  # fmt: skip
        memory.add(size)

    def keep_value(self, value: Value, place: SpecPlace) -> None:
        """Count the memory of a value that a job set, of which there is one copy, likewise."""
        self.keep(self._memory.size_of(value) // TEXT_COPIES, place)

    def has_successor(self, job_id: str) -> bool:
        """Whether anything depends on a job so far."""
        return job_id in self.chain.next_jobs

    def limit(self, limit: int, elements: list[tuple[str, str]]) -> None:
        """Let only so many elements be in flight at once."""
        if len(elements) > limit:
            self.chain.parallel_limits.append(ParallelLimit(limit, tuple(elements)))


def joined(groups: list[list[str]]) -> list[str]:
    """Job ids of several groups, each once; a single group is not copied."""
    if len(groups) == 1:
        return groups[0]
    return list(dict.fromkeys(job_id for group in groups for job_id in group))
