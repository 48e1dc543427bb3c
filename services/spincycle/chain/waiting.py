"""Explains why jobs wait."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spincycle.chain.chain_graph import ChainGraph, JobNode
    from spincycle.model.job_chain import JobChain


class WaitReason(IntEnum):
    """What a job waits for; the numbers are those of the contract."""

    PARENTS = 1
    RETRY_WAIT = 2
    SEQUENCE_RETRY_WAIT = 3
    PARALLEL_LIMIT = 4
    RUNNER_FULL = 5
    SUSPENDED = 6
    NO_RUNNER = 7
    REQUEST_LIMIT = 8
    JOURNAL = 9
    ROLL_BACK = 10


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job that waits, and why; see spincycle.v1.WaitingJob.

    Attributes:
        waits_for: ids of the jobs that it waits for.
        until: when the wait ends at the latest, in nanoseconds since 1970; 0 if open-ended.
    """

    job_id: str
    name: str
    reason: WaitReason
    message: str
    waits_for: tuple[str, ...] = ()
    until: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class WaitSelection:
    """Selects waiting jobs of a chain.

    Attributes:
        job_ids: only these jobs; empty selects all.
        reasons: only jobs that wait for one of these; empty selects all.
        limit: maximum number of jobs.
        after: only jobs after this one in creation order; empty selects from the first one.
    """

    job_ids: frozenset[str] = frozenset()
    reasons: frozenset[int] = frozenset()
    limit: int = 1000
    after: str = ""

    def ids(self, jobs: Iterable[str]) -> Iterator[str]:
        """Yield the selected ids of jobs, which are given in creation order."""
        ids = iter(jobs)
        if self.after:
            for job_id in ids:
                if job_id == self.after:
                    break
        return (job_id for job_id in ids if not self.job_ids or job_id in self.job_ids)

    def matches(self, wait: WaitingJob) -> bool:
        """Return whether the reason of a job is selected."""
        return not self.reasons or wait.reason in self.reasons


ALL_WAITS = WaitSelection()


def waits_on_runner(graph: ChainGraph, which: WaitSelection = ALL_WAITS) -> Iterator[WaitingJob]:
    """Yield the waiting jobs of a chain on a runner, in creation order, whatever their reasons."""
    for job_id in which.ids(graph.jobs):
        node = graph.jobs[job_id]
        if node.state is State.RUNNING and not node.started_at:
            yield _waiting(node, WaitReason.RUNNER_FULL, "waits for a free slot on the runner")
        elif node.state is State.PENDING:
            yield _wait_of(node)


def waits_without_runner(
    chain: JobChain, reason: WaitReason, message: str, which: WaitSelection = ALL_WAITS
) -> Iterator[WaitingJob]:
    """Yield the incomplete jobs of a chain that is on no runner, whatever their reasons.

    A job whose parents are complete waits for `reason`, as the request does.
    """
    parents: dict[str, list[str]] = {}
    for job_id, following in chain.next_jobs.items():
        for next_id in following:
            parents.setdefault(next_id, []).append(job_id)
    for id_ in which.ids(chain.jobs):
        job = chain.jobs[id_]
        if job.state is State.COMPLETE:
            continue
        unfinished = [
            parent
            for parent in parents.get(job.id, ())
            if chain.jobs[parent].state is not State.COMPLETE
        ]
        if unfinished:
            names = ", ".join(
                f"{chain.jobs[parent].display_name} ({parent})" for parent in unfinished
            )
            text, waits_for = f"waits for {names}", tuple(unfinished)
            yield WaitingJob(job.id, job.name, WaitReason.PARENTS, text, waits_for, path=job.path)
        else:
            yield WaitingJob(job.id, job.name, reason, message, path=job.path)


def _wait_of(node: JobNode) -> WaitingJob:
    if node.sequence is not None and node.sequence.blocked:
        return _waiting(
            node,
            WaitReason.ROLL_BACK,
            "its sequence has failed and waits for its running jobs to end",
        )
    unfinished = [parent for parent in node.parents if parent.state is not State.COMPLETE]
    if unfinished:
        names = ", ".join(_named(parent) for parent in unfinished)
        return _waiting(
            node, WaitReason.PARENTS, f"waits for {names}", tuple(p.job.id for p in unfinished)
        )
    if node.wait is not None and node.opens and not node.latest:
        return _waiting(
            node, WaitReason.SEQUENCE_RETRY_WAIT, "waits before the next try of its sequence"
        )
    if node.wait is not None:
        return _waiting(node, WaitReason.RETRY_WAIT, "waits before its next try")
    if node.element is not None and not node.element.admitted and not node.waiting:
        limit = node.element.window.limit
        return _waiting(
            node, WaitReason.PARALLEL_LIMIT, f"{limit} elements of its node are already in flight"
        )
    return _waiting(
        node, WaitReason.JOURNAL, "waits until the entries of its parents are committed"
    )


def _waiting(
    node: JobNode, reason: WaitReason, message: str, waits_for: tuple[str, ...] = ()
) -> WaitingJob:
    job = node.job
    return WaitingJob(job.id, job.name, reason, message, waits_for, node.retry_at, job.path)


def _named(node: JobNode) -> str:
    return f"{node.job.display_name} ({node.job.id}, {node.state.name})"
