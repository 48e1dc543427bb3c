"""A job chain while it grows: jobs with fresh ids, edges, limits on its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.errors import ChainNotBuilt
from spincycle.graph.job_ids import IdsUsedUp, JobIds
from spincycle.job_chain import NOOP, Job, JobChain, ParallelLimit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.graph.job_maker import Place


@dataclass(frozen=True, slots=True)
class Limits:
    """What one expansion may use.

    Attributes:
        create_timeout: seconds for the create of one job.
        max_jobs: most jobs in a chain.
        max_edges: most links between jobs of a chain.
    """

    create_timeout: float = 10.0
    max_jobs: int = 200_000
    max_edges: int = 2_000_000


class ChainBuilder:
    """Adds jobs in creation order, which is a topological one."""

    def __init__(self, request_id: str, limits: Limits, ids: JobIds) -> None:
        self.chain = JobChain(request_id)
        self._limits = limits
        self._ids = ids
        self._edges = 0

    def new_id(self, place: Place) -> str:
        """A job id.

        Raises:
            ChainNotBuilt: the chain has as many jobs as it may.
        """
        if len(self.chain.jobs) >= self._limits.max_jobs:
            raise place.error(f"the request has more than {self._limits.max_jobs} jobs")
        try:
            return self._ids.new()
        except IdsUsedUp as error:
            raise place.error(str(error))

    def add(self, job: Job, parents: Iterable[str], place: Place) -> None:
        """Put a job behind its parents.

        Raises:
            ChainNotBuilt: the chain has as many edges as it may.
        """
        self.chain.jobs[job.id] = job
        following = self.chain.next_jobs
        for parent in parents:
            self._edges += 1
            if parent in following:
                following[parent].append(job.id)
            else:
                following[parent] = [job.id]
        if self._edges > self._limits.max_edges:
            raise self._too_many_edges(place)

    def has_successor(self, job_id: str) -> bool:
        """Whether anything depends on a job so far."""
        return job_id in self.chain.next_jobs

    def limit(self, limit: int, elements: list[tuple[str, str]]) -> None:
        """Let only so many elements be in flight at once."""
        if len(elements) > limit:
            self.chain.parallel_limits.append(ParallelLimit(limit, tuple(elements)))

    def _too_many_edges(self, place: Place) -> ChainNotBuilt:
        return place.error(
            f"the request has more than {self._limits.max_edges} links between jobs: put a "
            f"{NOOP} job between repeated nodes that depend on each other"
        )


def joined(groups: list[list[str]]) -> list[str]:
    """Job ids of several groups, each once; a single group is not copied."""
    if len(groups) == 1:
        return groups[0]
    return list(dict.fromkeys(job_id for group in groups for job_id in group))
