"""What the original's form of a chain does not say, worked out from its edges and names."""

from __future__ import annotations

from collections import deque

from spincycle.v1 import job_chain_pb2

_NOOP = "noop"


def completed(chain: job_chain_pb2.JobChain) -> job_chain_pb2.JobChain:
    """The chain with its jobs in topological order, structural ones and outer sequences named."""
    jobs = {job.id: job for job in chain.jobs}
    following = {edges.job_id: list(edges.next_job_ids) for edges in chain.adjacency_list}
    predecessor: dict[str, str] = {}
    open_parents = dict.fromkeys(jobs, 0)
    for job_id, successors in following.items():
        for successor in successors:
            open_parents[successor] += 1
            predecessor[successor] = job_id
    full = job_chain_pb2.JobChain()
    full.CopyFrom(chain)
    del full.jobs[:]
    around: dict[str, str] = {}
    ready = deque(job_id for job_id, count in open_parents.items() if count == 0)
    while ready:
        job = full.jobs.add()
        job.CopyFrom(jobs[ready.popleft()])
        job.structural = is_structural(job)
        if job.id == job.sequence_id and job.id in predecessor:
            before = jobs[predecessor[job.id]]
            is_end = _closes(before, jobs)
            outer = around.get(before.sequence_id, "") if is_end else before.sequence_id
            job.parent_sequence_id = around[job.id] = outer
        for successor in following.get(job.id, ()):
            open_parents[successor] -= 1
            if open_parents[successor] == 0:
                ready.append(successor)
    return full


def is_structural(job: job_chain_pb2.Job) -> bool:
    """Return whether the job begins or ends a sequence."""
    return job.type == _NOOP and job.name.endswith(("_begin", "_end"))


def _closes(job: job_chain_pb2.Job, jobs: dict[str, job_chain_pb2.Job]) -> bool:
    """Whether the job is the last one of its sequence."""
    begin = jobs.get(job.sequence_id)
    return begin is not None and job.name == begin.name.removesuffix("_begin") + "_end"
