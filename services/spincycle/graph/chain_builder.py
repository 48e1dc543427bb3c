"""Builds a job chain: adds jobs with new ids and edges, and enforces limits on its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.graph.job_ids import IdsExhausted, JobIds
from spincycle.graph.memory import TEXT_COPIES
from spincycle.model.job_chain import NOOP, ChainJob, JobChain, ParallelLimit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.graph.job_maker import SpecPlace
    from spincycle.graph.memory import ChainMemory
    from spincycle.model.job_chain import Value


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an expansion.

    Attributes:
        create_timeout: maximum seconds to create one job.
        max_jobs: maximum jobs of a chain.
        max_edges: maximum edges between jobs of a chain.
        max_bytes: maximum memory of a chain, in bytes as estimated by ChainMemory, and of all
            chains that are being built and stored.
        max_job_bytes: maximum memory of a job, in the same unit. Its encoded size is at most a
            third of that, so that it fits into the messages between the services.
    """

    create_timeout: float = 10.0
    max_jobs: int = 200_000
    max_edges: int = 2_000_000
    max_bytes: int = 512 * 1024 * 1024
    max_job_bytes: int = 96 * 1024 * 1024


class ChainBuilder:
    """Adds jobs in creation order, which is a topological order."""

    def __init__(self, request_id: str, limits: Limits, ids: JobIds, memory: ChainMemory) -> None:
        self.chain = JobChain(request_id)
        self._memory = memory
        self._limits = limits
        self._ids = ids
        self._edges = 0

    def new_id(self, place: SpecPlace) -> str:
        """Return a new job id.

        Raises:
            PlanTooLarge: the chain has the maximum number of jobs.
            ChainNotBuilt: all ids are used.
        """
        jobs, most = len(self.chain.jobs), self._limits.max_jobs
        if jobs >= most:
            raise place.too_large(
                f"the request has more than {most} jobs", jobs, self._memory.size, most
            )
        try:
            return self._ids.new()
        except IdsExhausted as error:
            raise place.error(str(error))

    def add(self, job: ChainJob, parents: Iterable[str], place: SpecPlace) -> None:
        """Add a job after its parents.

        Raises:
            PlanTooLarge: the chain has too many edges or needs too much memory.
            Overloaded: other chains currently use the memory of this process.
        """
        args = job.args
        size = self._memory.size_of_job(args.values() if args else (), job.bytes, job.path)
        if size > self._limits.max_job_bytes:
            raise place.too_large(
                f"the job needs {size} bytes of memory with its arguments, and the limit is "
                f"{self._limits.max_job_bytes}: pass fewer or smaller arguments",
                len(self.chain.jobs),
                size,
                self._limits.max_job_bytes,
            )
        self.reserve(size, place)
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
                f"the request has more than {self._limits.max_edges} edges between jobs: add a "
                f"{NOOP} job between repeated nodes that depend on each other",
                len(following),
                self._edges,
                self._limits.max_edges,
            )

    def reserve(self, size: int, place: SpecPlace) -> None:
        """Reserve `size` bytes of memory for the chain.

        Raises:
            PlanTooLarge: the chain needs too much memory.
            Overloaded: other chains currently use the memory of this process.
        """
        memory, limit = self._memory, self._limits.max_bytes
        if memory.size + size > limit:
            raise place.too_large(
                f"the request needs more than {limit} bytes of memory: {memory.size} for its "
                f"first {len(self.chain.jobs)} jobs, each of which has a copy of its arguments; "
                "repeat the node over fewer elements, or pass smaller arguments",
                len(self.chain.jobs),
                memory.size,
                limit,
            )
        memory.add(size)

    def reserve_value(self, value: Value, place: SpecPlace) -> None:
        """Reserve memory for a value that a job set, which is stored once; raises as `reserve`."""
        self.reserve(self._memory.size_of(value) // TEXT_COPIES, place)

    def has_successor(self, job_id: str) -> bool:
        """Return whether another job depends on a job so far."""
        return job_id in self.chain.next_jobs

    def add_limit(self, limit: int, elements: list[tuple[str, str]]) -> None:
        """Limit the number of elements in flight."""
        if len(elements) > limit:
            self.chain.parallel_limits.append(ParallelLimit(limit, tuple(elements)))


def merged_ids(groups: list[list[str]]) -> list[str]:
    """Return the job ids of several groups, each once; a single group is not copied."""
    if len(groups) == 1:
        return groups[0]
    return list(dict.fromkeys(job_id for group in groups for job_id in group))
