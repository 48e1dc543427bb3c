"""Rebuilds the state of a chain whose runner was lost from the chain and its journal."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from spincycle.chain.chain_graph import ChainGraph, sequence_to_retry
from spincycle.chain.chain_record import ChainRecord
from spincycle.chain.chain_state import ChainState
from spincycle.chain.commands import StartTry
from spincycle.chain.scheduler_state import SchedulerState
from spincycle.chain.sequence_rules import fail_permanently, reset
from spincycle.chain.suspension import save
from spincycle.chain.timeout_clocks import replay_start
from spincycle.errors import InvalidChain
from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.chain.chain_graph import JobNode
    from spincycle.model.job_chain import JobChain, SuspendedJobChain
    from spincycle.model.journal_entry import JournalEntry


def rebuild(
    chain: JobChain, entries: Iterable[JournalEntry], epoch: int = 0, started_at: int = 0
) -> SuspendedJobChain:
    """Return the saved state from which a runner can resume the chain.

    Fence the journal first, so that no entry is added to it. Every job that may have been
    running is assumed to have run under `epoch`, the lost runner's, and under each epoch since
    the job's last entry: their try numbers are not reused. A job that must not run again is
    RUNNING in the result, so that its next runner journals that try as failed.

    `started_at` is when the request started, in nanoseconds since 1970; 0 if no runner has accepted
    it. The timeout of the request counts from there if the journal has no start of its own.

    Raises:
        InvalidChain: an entry belongs to a job that is not in the chain.
    """
    entries = sorted(entries, key=attrgetter("position"))
    graph, record = _replayed(chain, entries, started_at)
    last_epochs = {entry.job_id: entry.epoch for entry in entries}
    scheduler = SchedulerState(graph, record, float)
    for node in graph.jobs.values():
        node.settled = node.state is State.COMPLETE
    record.epoch = max(record.epoch, epoch)
    suspended = save(graph, record)
    interrupted = _startable(suspended)
    started = interrupted | _startable(_before_timeouts(suspended, graph))
    for failures in _failures_by_depth(graph):
        for node in failures:
            fail_permanently(scheduler, node)
        suspended = save(graph, record)
        interrupted = _startable(suspended)
        started |= interrupted
    for job_id in started:
        lost = max(0, epoch - last_epochs.get(job_id, 1)) + 1
        suspended.total_job_tries[job_id] = graph.jobs[job_id].total + lost
        suspended.latest_run_job_tries[job_id] = graph.jobs[job_id].latest
    for job_id in interrupted:
        if graph.jobs[job_id].job.fail_if_interrupted:
            _count_interrupted_try(suspended, graph.jobs[job_id])
    return suspended


def replay(chain: JobChain, entries: Iterable[JournalEntry]) -> SuspendedJobChain:
    """Return the state that the journal records of a chain that is on no runner.

    Raises:
        InvalidChain: as in `rebuild`.
    """
    return save(*_replayed(chain, sorted(entries, key=attrgetter("position"))))


def _replayed(
    chain: JobChain, entries: Iterable[JournalEntry], started_at: int = 0
) -> tuple[ChainGraph, ChainRecord]:
    graph = ChainGraph(chain)
    record = ChainRecord(chain.request_id, 0, 0)
    scheduler = SchedulerState(graph, record, float)
    for entry in entries:
        node = graph.jobs.get(entry.job_id)
        if node is None:
            raise InvalidChain(
                chain.request_id,
                f"the journal has an entry of job {entry.job_id}, which is not in the chain",
            )
        _replay(scheduler, node, entry)
        replay_start(graph, node, entry, started_at)
    if chain.timeout is not None:
        graph.request_started_at = graph.request_started_at or started_at
    return graph, record


def _replay(scheduler: SchedulerState, node: JobNode, entry: JournalEntry) -> None:
    scheduler.record.position = entry.position
    scheduler.record.epoch = max(scheduler.record.epoch, entry.epoch)
    sequence = node.sequence
    if sequence is not None and node.opens and entry.sequence_try != sequence.tries:
        for inner in sequence.all_within():
            inner.tries = inner.started_at = 0
        for inside in sequence.all_jobs():
            reset(scheduler, inside)
        sequence.tries = entry.sequence_try
    node.total = max(node.total, entry.try_)
    if entry.state is State.COMPLETE:
        node.latest += 1
        node.output = entry.data
        if node.state is not State.COMPLETE:
            scheduler.record.mark_complete(node)
    elif entry.state is State.FAIL:
        node.latest += 1
        if node.state is State.COMPLETE:
            scheduler.record.mark_incomplete(node)
        for_good = entry.final or node.latest > node.job.retry
        node.state = State.FAIL if for_good else State.PENDING
    elif sequence is not None and node.opens and not node.latest:
        sequence.tries -= 1


def _before_timeouts(suspended: SuspendedJobChain, graph: ChainGraph) -> SuspendedJobChain:
    """Return the chain as it was before timeouts failed sequences."""
    jobs = {
        job_id: replace(job, state=State.COMPLETE) if _had_completed(graph.jobs[job_id]) else job
        for job_id, job in suspended.job_chain.jobs.items()
    }
    return replace(suspended, job_chain=replace(suspended.job_chain, jobs=jobs))


def _had_completed(node: JobNode) -> bool:
    failed_since = node.state is State.FAIL and node.opens
    return failed_since and (node.job.structural or node.output is not None)


def _failures_by_depth(graph: ChainGraph) -> list[list[JobNode]]:
    """Return the jobs whose failure restarts a sequence, innermost sequences first.

    While an outer sequence waited for its jobs to end, an inner one may have restarted.
    """
    by_depth: dict[int, list[JobNode]] = {}
    for node in graph.jobs.values():
        sequence = sequence_to_retry(node) if node.state is State.FAIL else None
        if sequence is not None:
            by_depth.setdefault(len(sequence.lineage), []).append(node)
    return [by_depth[depth] for depth in sorted(by_depth, reverse=True)]


def _startable(suspended: SuspendedJobChain) -> set[str]:
    """Return the jobs that would be running in this state if there were no waits."""
    chain = suspended.job_chain
    jobs = {
        job.id: replace(job, retry_wait="", sequence_retry_wait="", sequence_timeout=None)
        for job in chain.jobs.values()
    }
    without_waits = replace(suspended, job_chain=replace(chain, jobs=jobs, timeout=None))
    commands = ChainState.resumed(without_waits, suspended.epoch, float).start(0)
    return {command.job_id for command in commands if isinstance(command, StartTry)}


def _count_interrupted_try(suspended: SuspendedJobChain, node: JobNode) -> None:
    """Count an interrupted try against the retry limits."""
    job_id = node.job.id
    suspended.job_chain.jobs[job_id].state = State.RUNNING
    suspended.latest_run_job_tries[job_id] = node.latest + 1
    if node.opens and not node.latest:
        tries = suspended.sequence_tries
        tries[job_id] = tries.get(job_id, 0) + 1
