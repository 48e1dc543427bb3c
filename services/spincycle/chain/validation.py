"""Validation of chains before a runner accepts them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from spincycle.errors import InvalidChain
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.model.job_chain import ChainJob, JobChain

RESUMABLE = (State.PENDING, State.COMPLETE, State.STOPPED, State.FAIL, State.RUNNING)
"""Job states within a suspended chain. RUNNING is a try that was interrupted with its runner."""


def check_new(chain: JobChain) -> None:
    """Check a new chain.

    Raises:
        InvalidChain: it has already run, or its structure is invalid.
    """
    check_structure(chain)
    _check_states(chain, (State.PENDING,), "new")
    if chain.finished_jobs:
        raise InvalidChain(
            chain.request_id, f"FinishedJobs = {chain.finished_jobs}, expected 0 for new job chain"
        )


def check_resumed(chain: JobChain) -> None:
    """Check a suspended chain.

    Raises:
        InvalidChain: its job states, its count of jobs or its structure is invalid.
    """
    check_structure(chain)
    _check_states(chain, RESUMABLE, "existing")
    complete = sum(job.state is State.COMPLETE for job in chain.jobs.values())
    if chain.finished_jobs != complete:
        raise InvalidChain(
            chain.request_id,
            f"FinishedJobs = {chain.finished_jobs} but there are {complete} jobs"
            " with state = COMPLETE",
        )


def check_structure(chain: JobChain) -> None:
    """Check that the chain is an acyclic graph from one source to one sink.

    Raises:
        InvalidChain: it is not, or its sequences or parallel limits are inconsistent.
    """
    if not chain.request_id:
        raise InvalidChain(chain.request_id, "the job chain has no request id")
    if not chain.jobs:
        raise InvalidChain(chain.request_id, "the job chain has no jobs")
    for job_id, job in chain.jobs.items():
        if not job_id or job.id != job_id:
            raise InvalidChain(
                chain.request_id,
                f'invalid job id: job {job.display_name} is "{job.id}" under "{job_id}"',
            )
    _check_edges(chain)
    _check_ends(chain)
    _check_acyclic(chain)
    _check_sequences(chain)
    _check_parallel_limits(chain)


def _check_states(chain: JobChain, allowed: tuple[State, ...], kind: str) -> None:
    for job in chain.jobs.values():
        if job.state not in allowed:
            expected = ", ".join(state.name for state in allowed)
            raise InvalidChain(
                chain.request_id,
                f"invalid job state for {kind} job chain: {State(job.state).name}"
                f" ({int(job.state)}), job {job.display_name} (ID {job.id}); expected {expected}",
            )


def _check_edges(chain: JobChain) -> None:
    for job_id, following in chain.next_jobs.items():
        if job_id not in chain.jobs:
            raise InvalidChain(
                chain.request_id, f"invalid adjacency list: job {job_id} is not in the chain"
            )
        if len(set(following)) != len(following):
            raise InvalidChain(
                chain.request_id,
                f"invalid adjacency list: {_name(chain, job_id)} names a job twice",
            )
        for next_id in following:
            if next_id not in chain.jobs:
                raise InvalidChain(
                    chain.request_id,
                    f"invalid adjacency list: job {next_id}, after {_name(chain, job_id)},"
                    " is not in the chain",
                )


def _check_ends(chain: JobChain) -> None:
    with_parents = {next_id for following in chain.next_jobs.values() for next_id in following}
    sources = [job_id for job_id in chain.jobs if job_id not in with_parents]
    if len(sources) > 1:
        raise InvalidChain(
            chain.request_id, f"job chain has more than one start job: {_names(chain, sources)}"
        )
    sinks = [job_id for job_id in chain.jobs if not chain.next_jobs.get(job_id)]
    if len(sinks) > 1:
        raise InvalidChain(
            chain.request_id, f"job chain has more than one end job: {_names(chain, sinks)}"
        )


def _check_acyclic(chain: JobChain) -> None:
    waiting = dict.fromkeys(chain.jobs, 0)
    for following in chain.next_jobs.values():
        for next_id in following:
            waiting[next_id] += 1
    free = deque(job_id for job_id, count in waiting.items() if not count)
    walked = 0
    while free:
        walked += 1
        for next_id in chain.next_jobs.get(free.popleft(), ()):
            waiting[next_id] -= 1
            if not waiting[next_id]:
                free.append(next_id)
    if walked < len(chain.jobs):
        raise InvalidChain(chain.request_id, "chain is cyclic")


def _check_sequences(chain: JobChain) -> None:
    for job in chain.jobs.values():
        first = chain.jobs.get(job.sequence_id)
        if job.sequence_id and (first is None or first.sequence_id != first.id):
            raise InvalidChain(
                chain.request_id,
                f"invalid sequence id: {_name(chain, job.id)} names {job.sequence_id},"
                " which is not the first job of a sequence",
            )
    clear: set[str] = set()
    for job in chain.jobs.values():
        path: list[str] = []
        sequence_id = job.sequence_id
        while sequence_id and sequence_id not in clear:
            if sequence_id in path:
                raise InvalidChain(
                    chain.request_id, f"sequence {_name(chain, sequence_id)} is nested in itself"
                )
            path.append(sequence_id)
            sequence_id = _parent(chain, chain.jobs[sequence_id])
        clear.update(path)


def _parent(chain: JobChain, first: ChainJob) -> str:
    parent = chain.jobs.get(first.parent_sequence_id)
    if first.parent_sequence_id and (parent is None or parent.sequence_id != parent.id):
        raise InvalidChain(
            chain.request_id,
            f"invalid parent sequence id: {_name(chain, first.id)} names"
            f" {first.parent_sequence_id}, which is not the first job of a sequence",
        )
    return first.parent_sequence_id


def _check_parallel_limits(chain: JobChain) -> None:
    opening: set[str] = set()
    closing: set[str] = set()
    for window in chain.parallel_limits:
        if window.limit < 1:
            raise InvalidChain(
                chain.request_id, f"invalid parallel limit: {window.limit}, must be 1 or more"
            )
        for first_id, last_id in window.elements:
            for job_id in (first_id, last_id):
                if job_id not in chain.jobs:
                    raise InvalidChain(
                        chain.request_id,
                        f"invalid parallel limit: job {job_id} is not in the chain",
                    )
            if first_id in opening or last_id in closing:
                raise InvalidChain(
                    chain.request_id,
                    f"invalid parallel limit: {_name(chain, first_id)} is in two elements",
                )
            opening.add(first_id)
            closing.add(last_id)


def _name(chain: JobChain, job_id: str) -> str:
    return f"{chain.jobs[job_id].display_name} ({job_id})"


def _names(chain: JobChain, job_ids: list[str]) -> str:
    shown = ", ".join(_name(chain, job_id) for job_id in job_ids[:5])
    return f"{shown} and {len(job_ids) - 5} more" if len(job_ids) > 5 else shown
