"""The state of a chain whose runner died, from what is on record: archive and journal."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from spincycle.chain.chain_graph import ChainGraph
from spincycle.chain.chain_record import ChainRecord
from spincycle.chain.chain_state import ChainState
from spincycle.chain.commands import StartTry
from spincycle.chain.sequence_rules import failed_for_good, reset
from spincycle.chain.suspension import save
from spincycle.chain.walk import Walk
from spincycle.errors import InvalidChain
from spincycle.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.chain.chain_graph import JobNode
    from spincycle.job_chain import JobChain, SuspendedJobChain
    from spincycle.journal_entry import JournalEntry


def rebuild(chain: JobChain, entries: Iterable[JournalEntry]) -> SuspendedJobChain:
    """What a runner needs to go on with a chain, as far as the journal tells.

    The journal must be fenced first, so that nothing is added to it any more. Every job
    that may have been running is taken to have been: the number of that try stays unused,
    and a job that must not be run again is RUNNING in the answer, upon which its next
    runner journals the try as failed.

    Raises:
        InvalidChain: an entry is of a job that the chain does not have.
    """
    graph, suspended = _replayed(chain, entries)
    for job_id in _startable(suspended):
        _interrupt(suspended, graph.jobs[job_id])
    return suspended


def replay(chain: JobChain, entries: Iterable[JournalEntry]) -> SuspendedJobChain:
    """What the journal says of a chain that no runner has: nothing of it can be running.

    Raises:
        InvalidChain: as `rebuild`.
    """
    return _replayed(chain, entries)[1]


def _replayed(
    chain: JobChain, entries: Iterable[JournalEntry]
) -> tuple[ChainGraph, SuspendedJobChain]:
    graph = ChainGraph(chain)
    record = ChainRecord(chain.request_id, 0, 0)
    for entry in sorted(entries, key=attrgetter("position")):
        node = graph.jobs.get(entry.job_id)
        if node is None:
            raise InvalidChain(
                chain.request_id,
                f"the journal has an entry of job {entry.job_id}, the chain has not",
            )
        _replay(Walk(graph, record, float), node, entry)
    walk = Walk(graph, record, float)
    for node in graph.jobs.values():
        node.settled = node.state is State.COMPLETE
    for node in graph.jobs.values():
        if node.state is State.FAIL:
            failed_for_good(walk, node)
    return graph, save(graph, record)


def _replay(walk: Walk, node: JobNode, entry: JournalEntry) -> None:
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
        for_good = entry.final or node.latest > node.job.retry
        node.state = State.FAIL if for_good else State.PENDING
    elif sequence is not None and node.opens and not node.latest:
        sequence.tries -= 1


def _startable(suspended: SuspendedJobChain) -> list[str]:
    """Jobs that a runner in this state, with no patience, would have running."""
    chain = suspended.job_chain
    jobs = {
        job.id: replace(job, retry_wait="", sequence_retry_wait="", sequence_timeout=None)
        for job in chain.jobs.values()
    }
    impatient = replace(suspended, job_chain=replace(chain, jobs=jobs, timeout=None))
    commands = ChainState.resumed(impatient, suspended.epoch, float).start(0)
    return [command.job_id for command in commands if isinstance(command, StartTry)]


def _interrupt(suspended: SuspendedJobChain, node: JobNode) -> None:
    job_id = node.job.id
    suspended.total_job_tries[job_id] = node.total + 1
    suspended.latest_run_job_tries[job_id] = node.latest
    if not node.job.fail_if_interrupted:
        return
    suspended.job_chain.jobs[job_id].state = State.RUNNING
    suspended.latest_run_job_tries[job_id] = node.latest + 1
    if node.opens and not node.latest:
        tries = suspended.sequence_tries
        tries[job_id] = tries.get(job_id, 0) + 1
