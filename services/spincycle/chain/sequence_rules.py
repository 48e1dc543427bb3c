"""Rules of sequences: failure, timeout, roll-back and retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.chain.chain_graph import sequence_to_retry
from spincycle.chain.scheduler_state import Mode
from spincycle.chain.try_outcome import StopCause, TryOutcome
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.chain.chain_graph import JobNode, SequenceNode
    from spincycle.chain.scheduler_state import SchedulerState

_RETRYING = (Mode.RUNNING, Mode.SUSPENDING)


def may_close(scheduler: SchedulerState, node: JobNode) -> bool:
    """Return whether a job is an end that can complete before its parents are committed.

    All parents must be complete. An end does nothing, and its entry follows those of its parents
    in the journal, so it is never stored without them. Only its children wait for the commit.
    """
    if not node.job.structural or node.opens or node.element is not None:
        return False
    if node.state is not State.PENDING or node.latest or node.after > scheduler.record.committed:
        return False
    blocked = node.sequence is not None and node.sequence.blocked
    return scheduler.mode is Mode.RUNNING and not blocked


def fail_permanently(scheduler: SchedulerState, node: JobNode) -> None:
    """Fail the innermost sequence around a failed job that has tries left.

    If there is none, the job stays failed and other branches continue.
    """
    if node.sequence is None or scheduler.mode not in _RETRYING:
        return
    sequence = sequence_to_retry(node)
    if sequence is not None and not any(outer.failing for outer in node.sequence.lineage):
        _fail(scheduler, sequence)


def time_out(scheduler: SchedulerState, sequence: SequenceNode, reason: str) -> None:
    """Fail a sequence that exceeded its timeout, and stop its jobs.

    Its first job fails, whether complete or not. If that job is running, it is stopped first.
    """
    if sequence.first.state is State.RUNNING:
        sequence.overdue = reason
        scheduler.stop_try(sequence.first, StopCause.OVERDUE, reason)
        return
    for inner in sequence.all_within():
        inner.failing = False
    for node in sequence.all_jobs():
        scheduler.resume(node)
        if node.state is State.RUNNING:
            scheduler.stop_try(node, StopCause.OVERDUE, reason)
    fail_unstarted(scheduler, sequence.first, reason)
    fail_permanently(scheduler, sequence.first)


def after_try(scheduler: SchedulerState, node: JobNode) -> None:
    """Act on the end of a try: fail its overdue sequence, roll back a failed sequence."""
    sequence = node.sequence
    if sequence is None or scheduler.mode not in _RETRYING:
        return
    if node.opens and sequence.overdue and node.state is not State.FAIL:
        time_out(scheduler, sequence, sequence.overdue)
    _roll_back_if_idle(scheduler, sequence)


def _roll_back_if_idle(scheduler: SchedulerState, sequence: SequenceNode) -> None:
    """Roll back the outermost failed sequence if none of its jobs is running."""
    failing = [outer for outer in sequence.lineage if outer.failing]
    if failing and not failing[-1].running:
        _roll_back(scheduler, failing[-1])


def fail_unstarted(scheduler: SchedulerState, node: JobNode, reason: str) -> None:
    """Fail a job without starting it; its journal entry makes the failure durable."""
    if node.state is State.COMPLETE:
        scheduler.record.mark_incomplete(node)
        node.settled = False
    node.total += 1
    node.state = State.FAIL
    node.error = reason
    scheduler.record.append_entry(node, TryOutcome(State.FAIL, reason, non_retryable=True))
    scheduler.record.publish(node)


def _fail(scheduler: SchedulerState, sequence: SequenceNode) -> None:
    sequence.failing = True
    for node in sequence.all_jobs():
        scheduler.resume(node)
        if node.state is State.RUNNING:
            scheduler.withdraw(node)
    _roll_back_if_idle(scheduler, sequence)


def _roll_back(scheduler: SchedulerState, sequence: SequenceNode) -> None:
    """Reset every job of the sequence, and the tries of nested sequences."""
    within = sequence.all_within()
    inside = set(map(id, within))
    nodes = [node for inner in within for node in inner.members]
    for inner in within:
        scheduler.cancel_timeout(inner)
        inner.failing = False
        inner.overdue = ""
        inner.waited = False
        if inner is not sequence:
            inner.tries = 0
    for node in nodes:
        if node.settled:
            node.settled = False
            for child in node.children:
                if child.state is State.PENDING and id(child.sequence) not in inside:
                    child.waiting += 1
        reset(scheduler, node)
        if node.element is not None and node is not sequence.first:
            node.element.reset()
    for node in nodes:
        node.waiting = sum(not parent.settled for parent in node.parents)
    sequence.first.after = scheduler.record.position
    scheduler.queue.append(sequence.first)


def reset(scheduler: SchedulerState, node: JobNode) -> None:
    """Reset a job as if it had never run, except for its try numbers."""
    scheduler.resume(node)
    changed = node.state is not State.PENDING
    if node.state is State.COMPLETE:
        scheduler.record.mark_incomplete(node)
    node.state = State.PENDING
    node.latest = 0
    node.position = 0
    node.output = None
    node.percent = None
    if changed:
        scheduler.record.publish(node)
