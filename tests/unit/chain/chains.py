"""Builds chains from drawings such as "a > b c > d"."""

from __future__ import annotations

from typing import Any

from spincycle.model.job_chain import ChainJob, JobChain, ParallelLimit


def chain(
    drawing: str,
    *,
    request_id: str = "request",
    sequences: dict[str, str] | None = None,
    within: dict[str, str] | None = None,
    limits: list[tuple[int, list[tuple[str, str]]]] | None = None,
    timeout: float | None = None,
    jobs: dict[str, dict[str, Any]] | None = None,
) -> JobChain:
    """Return a chain from paths: "a > b c > d; b > e" links a to b and c, both to d, and b to e.

    Jobs with an upper-case name are structural. `sequences` lists the jobs of each sequence by its
    first job ("b": "b c d"); the other jobs belong to the sequence of the first job drawn. `within`
    has the parent of a sequence, if not the outermost one. `jobs` has additional fields.
    """
    made = JobChain(request_id=request_id, timeout=timeout)
    for path in drawing.split(";"):
        before: list[str] = []
        for step in path.split(">"):
            names = step.split()
            for name in names:
                made.jobs.setdefault(name, _job(name, (jobs or {}).get(name, {})))
                for earlier in before:
                    made.next_jobs.setdefault(earlier, []).append(name)
            before = names
    outermost = next(iter(made.jobs))
    for job in made.jobs.values():
        job.sequence_id = outermost
    for first, members in (sequences or {}).items():
        for name in members.split():
            made.jobs[name].sequence_id = first
        if first != outermost:
            made.jobs[first].parent_sequence_id = (within or {}).get(first, outermost)
    made.parallel_limits = [
        ParallelLimit(limit, tuple(elements)) for limit, elements in limits or []
    ]
    return made


def around(chain: JobChain, job: ChainJob) -> list[str]:
    """Return the sequences around a job, innermost first."""
    found = []
    sequence = job.sequence_id
    while sequence:
        found.append(sequence)
        sequence = chain.jobs[sequence].parent_sequence_id
    return found


def inside(chain: JobChain, sequence: str) -> list[str]:
    """Return the jobs of a sequence and of all nested ones."""
    return [job.id for job in chain.jobs.values() if sequence in around(chain, job)]


def parents(chain: JobChain, job_id: str) -> list[str]:
    """Return the direct parents of a job."""
    return [first for first, following in chain.next_jobs.items() if job_id in following]


def _job(name: str, more: dict[str, Any]) -> ChainJob:
    fields: dict[str, Any] = {
        "id": name,
        "name": name,
        "type": "test",
        "structural": name.isupper(),
        **more,
    }
    return ChainJob(**fields)
