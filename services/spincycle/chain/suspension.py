"""Converts a running chain to its saved state, and back."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from spincycle.chain.job_data import merged
from spincycle.chain.timeout_clocks import load_starts, saved_starts
from spincycle.model.job_chain import JobChain, SuspendedJobChain
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.chain.chain_graph import ChainGraph, JobNode
    from spincycle.chain.chain_record import ChainRecord
    from spincycle.model.job_chain import ChainJob, Value


def inputs_of(node: JobNode) -> dict[str, Value]:
    """Return a job's input: its own data and its parents', merged in order of creation.

    Values are shared.
    """
    return merged([node.job.data, *(parent.output or {} for parent in node.parents)])


def save(graph: ChainGraph, record: ChainRecord) -> SuspendedJobChain:
    """Return the saved state of a chain that has no running job."""
    nodes = graph.jobs.values()
    return SuspendedJobChain(
        request_id=record.request_id,
        job_chain=JobChain(
            request_id=record.request_id,
            jobs={node.job.id: _saved(node) for node in nodes},
            next_jobs=graph.chain.next_jobs,
            state=State.SUSPENDED,
            finished_jobs=record.complete,
            parallel_limits=graph.chain.parallel_limits,
            timeout=graph.chain.timeout,
            required_features=graph.chain.required_features,
        ),
        total_job_tries={node.job.id: node.total for node in nodes if node.total},
        latest_run_job_tries={node.job.id: node.latest for node in nodes if node.total},
        sequence_tries={
            sequence_id: sequence.tries
            for sequence_id, sequence in graph.sequences.items()
            if sequence.tries
        },
        epoch=record.epoch,
        journal_position=record.position,
        sequence_started_at=saved_starts(graph),
    )


def load(suspended: SuspendedJobChain, graph: ChainGraph, record: ChainRecord) -> list[JobNode]:
    """Load a saved state into a new graph.

    Return the jobs whose try was interrupted and must not be repeated. Every other stopped or
    interrupted try does not count.
    """
    for sequence_id, tries in suspended.sequence_tries.items():
        if sequence_id in graph.sequences:
            graph.sequences[sequence_id].tries = tries
    interrupted = []
    for node in graph.jobs.values():
        node.total = suspended.total_job_tries.get(node.job.id, 0)
        node.latest = suspended.latest_run_job_tries.get(node.job.id, 0)
        state = node.job.state
        if state is State.COMPLETE:
            record.mark_complete(node)
            node.settled = True
        elif state is State.FAIL:
            node.state = State.FAIL
        elif state is State.RUNNING and node.job.fail_if_interrupted:
            interrupted.append(node)
        elif state in (State.STOPPED, State.RUNNING):
            uncount_try(node)
    for node in graph.jobs.values():
        node.waiting = sum(not parent.settled for parent in node.parents)
    load_starts(suspended, graph)
    _load_data(graph)
    _load_windows(graph)
    return interrupted


def uncount_try(node: JobNode) -> None:
    """Do not count the latest try against the retry limits; its number stays used."""
    node.latest = max(0, node.latest - 1)
    if node.opens and not node.latest and node.sequence is not None:
        node.sequence.tries = max(0, node.sequence.tries - 1)


def _saved(node: JobNode) -> ChainJob:
    data = node.job.data
    if node.state is State.COMPLETE:
        data = {} if node.job.structural else (node.output or {})
    return replace(node.job, state=node.state, data=data)


def _load_data(graph: ChainGraph) -> None:
    missing = {node.job.id: len(node.parents) for node in graph.jobs.values()}
    free = deque(node for node in graph.jobs.values() if not node.parents)
    while free:
        node = free.popleft()
        if node.state is State.COMPLETE:
            node.output = inputs_of(node) if node.job.structural else node.job.data
        for child in node.children:
            missing[child.job.id] -= 1
            if not missing[child.job.id]:
                free.append(child)


def _load_windows(graph: ChainGraph) -> None:
    for window in graph.windows:
        for element in window.elements:
            first = element.first
            started = first.opens and first.sequence is not None and first.sequence.tries > 0
            if started or first.latest or first.state is not State.PENDING:
                element.admit()
    for node in graph.jobs.values():
        if node.closes is not None and node.state is State.COMPLETE:
            node.closes.close()
