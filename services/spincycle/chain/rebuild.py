"""The state of a chain whose runner died, from what is on record: archive and journal."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from spincycle.chain.chain_graph import ChainGraph, retried_for
from spincycle.chain.chain_record import ChainRecord
from spincycle.chain.chain_state import ChainState
from spincycle.chain.commands import StartTry
from spincycle.chain.scheduler_state import SchedulerState
from spincycle.chain.sequence_rules import failed_for_good, reset
from spincycle.chain.suspension import save
from spincycle.errors import InvalidChain
from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.chain.chain_graph import JobNode
    from spincycle.model.job_chain import JobChain, SuspendedJobChain
    from spincycle.model.journal_entry import JournalEntry


def rebuild(chain: JobChain, entries: Iterable[JournalEntry], epoch: int = 0) -> SuspendedJobChain:
    """What a runner needs to go on with a chain, as far as the journal tells.

    The journal must be fenced first, so that nothing is added to it any more. Every job
    that may have been running is taken to have been, under `epoch`, that of the runner that
    died, and under each one since the job's last entry: the numbers of those tries are not
    used again. A job that must not be run again is RUNNING in the answer, upon which its
    next runner journals the try as failed.

    Raises:
        InvalidChain: an entry is of a job that the chain does not have.
    """
    entries = sorted(entries, key=attrgetter("position"))
    graph, record = _replayed(chain, entries)
    heard_under = {entry.job_id: entry.epoch for entry in entries}
    walk = SchedulerState(graph, record, float)
    for node in graph.jobs.values():
        node.settled = node.state is State.COMPLETE
    record.epoch = max(record.epoch, epoch)
    suspended = save(graph, record)
    interrupted = _startable(suspended)
    begun = interrupted | _startable(_before_its_time_was_up(suspended, graph))
    for failures in _failures_by_depth(graph):
        for node in failures:
            failed_for_good(walk, node)
        suspended = save(graph, record)
        interrupted = _startable(suspended)
        begun |= interrupted
    for job_id in begun:
        lost = max(0, epoch - heard_under.get(job_id, 1)) + 1
        suspended.total_job_tries[job_id] = graph.jobs[job_id].total + lost
        suspended.latest_run_job_tries[job_id] = graph.jobs[job_id].latest
    for job_id in interrupted:
        if graph.jobs[job_id].job.fail_if_interrupted:
            _count(suspended, graph.jobs[job_id])
    return suspended


def replay(chain: JobChain, entries: Iterable[JournalEntry]) -> SuspendedJobChain:
    """What the journal says of a chain that no runner has: nothing of it can be running.

    Raises:
        InvalidChain: as `rebuild`.
    """
    return save(*_replayed(chain, sorted(entries, key=attrgetter("position"))))


def _replayed(chain: JobChain, entries: Iterable[JournalEntry]) -> tuple[ChainGraph, ChainRecord]:
    graph = ChainGraph(chain)
    record = ChainRecord(chain.request_id, 0, 0)
    walk = SchedulerState(graph, record, float)
    for entry in entries:
        node = graph.jobs.get(entry.job_id)
        if node is None:
            raise InvalidChain(
                chain.request_id,
                f"the journal has an entry of job {entry.job_id}, the chain has not",
            )
        _replay(walk, node, entry)
    return graph, record


def _replay(walk: SchedulerState, node: JobNode, entry: JournalEntry) -> None:
    walk.record.position = entry.position
    walk.record.epoch = max(walk.record.epoch, entry.epoch)
    sequence = node.sequence
    if sequence is not None and node.opens and entry.sequence_try != sequence.tries:
        for inner in sequence.all_within():
            inner.tries = 0
        for inside in sequence.all_jobs():
            reset(walk, inside)
        sequence.tries = entry.sequence_try
    node.total = max(node.total, entry.try_)
    if entry.state is State.COMPLETE:
        node.latest += 1
        node.output = entry.data
        if node.state is not State.COMPLETE:
            walk.record.completed(node)
    elif entry.state is State.FAIL:
        node.latest += 1
        if node.state is State.COMPLETE:
            walk.record.taken_back(node)
        for_good = entry.final or node.latest > node.job.retry
        node.state = State.FAIL if for_good else State.PENDING
    elif sequence is not None and node.opens and not node.latest:
        sequence.tries -= 1


def _before_its_time_was_up(suspended: SuspendedJobChain, graph: ChainGraph) -> SuspendedJobChain:
    """The chain as it was when sequences that ran out of time had not failed yet."""
    jobs = {
        job_id: replace(job, state=State.COMPLETE) if _had_completed(graph.jobs[job_id]) else job
        for job_id, job in suspended.job_chain.jobs.items()
    }
    return replace(suspended, job_chain=replace(suspended.job_chain, jobs=jobs))


def _had_completed(node: JobNode) -> bool:
    failed_since = node.state is State.FAIL and node.opens
    return failed_since and (node.job.structural or node.output is not None)


def _failures_by_depth(graph: ChainGraph) -> list[list[JobNode]]:
    """Jobs whose failure makes a sequence begin again, those of the innermost ones first.

    While an outer sequence waited for its jobs to end, an inner one may have begun again.
    """
    by_depth: dict[int, list[JobNode]] = {}
    for node in graph.jobs.values():
        sequence = retried_for(node) if node.state is State.FAIL else None
        if sequence is not None:
            by_depth.setdefault(len(sequence.lineage), []).append(node)
    return [by_depth[depth] for depth in sorted(by_depth, reverse=True)]


def _startable(suspended: SuspendedJobChain) -> set[str]:
    """Jobs that a runner in this state, with no patience, would have running."""
    chain = suspended.job_chain
    jobs = {
        job.id: replace(job, retry_wait="", sequence_retry_wait="", sequence_timeout=None)
        for job in chain.jobs.values()
    }
    impatient = replace(suspended, job_chain=replace(chain, jobs=jobs, timeout=None))
    commands = ChainState.resumed(impatient, suspended.epoch, float).start(0)
    return {command.job_id for command in commands if isinstance(command, StartTry)}


def _count(suspended: SuspendedJobChain, node: JobNode) -> None:
    """Let an interrupted try count against the limits."""
    job_id = node.job.id
    suspended.job_chain.jobs[job_id].state = State.RUNNING
    suspended.latest_run_job_tries[job_id] = node.latest + 1
    if node.opens and not node.latest:
        tries = suspended.sequence_tries
        tries[job_id] = tries.get(job_id, 0) + 1
