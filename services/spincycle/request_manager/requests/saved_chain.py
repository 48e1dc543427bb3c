"""Comparison of the saved state of a suspended request with its archived chain."""

from __future__ import annotations

from spincycle.errors import InvalidChain
from spincycle.v1 import job_chain_pb2, suspended_job_chain_pb2


def adopt(archived: bytes, suspended: bytes) -> tuple[bytes, bool]:
    """Return the saved state with the archived chain in it, and whether that has secret arguments.

    All are serialized.

    Only states and data of jobs are taken from the saved state, so that a resumed request runs
    what was planned, whatever the runner sent. Periods for which callers had suspended the request
    are not part of it: the row of the request has them.

    Raises:
        InvalidChain: the saved chain has other jobs, types, bytes, arguments or edges.
    """
    state = suspended_job_chain_pb2.SuspendedJobChain.FromString(suspended)
    planned = job_chain_pb2.JobChain.FromString(archived)
    saved = state.job_chain
    _check_same(state.request_id, planned, saved)
    by_id = {job.id: job for job in saved.jobs}
    for job in planned.jobs:
        kept = by_id[job.id]
        job.state = kept.state
        if kept.HasField("data"):
            job.data.CopyFrom(kept.data)
    planned.state = saved.state
    planned.finished_jobs = saved.finished_jobs
    state.job_chain.CopyFrom(planned)
    state.ClearField("suspended_periods")
    return state.SerializeToString(), any(job.secret_args for job in planned.jobs)


def _check_same(
    request_id: str, planned: job_chain_pb2.JobChain, saved: job_chain_pb2.JobChain
) -> None:
    jobs = {job.id: job for job in saved.jobs}
    if len(jobs) != len(saved.jobs) or jobs.keys() != {job.id for job in planned.jobs}:
        raise InvalidChain(request_id, "the saved chain does not have the jobs of the archived one")
    for job in planned.jobs:
        other = jobs[job.id]
        for name in ("type", "bytes", "args"):
            if getattr(job, name) != getattr(other, name):
                raise InvalidChain(
                    request_id,
                    f'job {job.id} ("{job.path or job.name}") of the saved chain has other {name} '
                    "than in the archived one",
                )
    if _edges(planned) != _edges(saved):
        raise InvalidChain(request_id, "the saved chain has other edges than the archived one")


def _edges(chain: job_chain_pb2.JobChain) -> set[tuple[str, str]]:
    return {
        (adjacent.job_id, next_id)
        for adjacent in chain.adjacency_list
        for next_id in adjacent.next_job_ids
    }
