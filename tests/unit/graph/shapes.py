"""Views of chains by job name, for comparisons in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spincycle.model.job_chain import ChainJob, JobChain


def parents(chain: JobChain) -> dict[str, set[str]]:
    """Return the names of each job's parents by its name; names must be unique."""
    found: dict[str, set[str]] = {job.name: set() for job in chain.jobs.values()}
    assert len(found) == len(chain.jobs)
    for job_id, following in chain.next_jobs.items():
        for successor in following:
            found[chain.jobs[successor].name].add(chain.jobs[job_id].name)
    return found


def named(chain: JobChain, name: str) -> ChainJob:
    """Return the only job of a name."""
    (job,) = all_named(chain, name)
    return job


def all_named(chain: JobChain, name: str) -> list[ChainJob]:
    """Return all jobs of a name, in creation order."""
    return [job for job in chain.jobs.values() if job.name == name]


def names(chain: JobChain) -> list[str]:
    """Return the job names in creation order."""
    return [job.name for job in chain.jobs.values()]


def ancestors(chain: JobChain) -> dict[str, set[str]]:
    """Return the direct parents of each job by id."""
    found: dict[str, set[str]] = {job_id: set() for job_id in chain.jobs}
    for job_id, following in chain.next_jobs.items():
        for successor in following:
            found[successor].add(job_id)
    return found
