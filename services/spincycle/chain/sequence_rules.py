"""What the failure of a job does to the sequences around it: one roll-back a failed try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.chain.chain_graph import retried_for
from spincycle.chain.scheduler_state import Mode
from spincycle.chain.verdict import StopCause, TryOutcome
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.chain.chain_graph import JobNode, SequenceNode
    from spincycle.chain.scheduler_state import SchedulerState

_RETRYING = (Mode.RUNNING, Mode.SUSPENDING)


def may_close(walk: SchedulerState, node: JobNode) -> bool:
    """Whether a job, whose parents are complete, is an end whose entry can follow theirs at once.

    An end does nothing, and its entry stands behind those of its parents in the journal: it is
    never there without them. So only what comes after it has to wait for their commit, and for
    its own with them.
    """
    if not node.job.structural or node.opens or node.element is not None:
        return False
    if node.state is not State.PENDING or node.latest or node.after > walk.record.committed:
        return False
    blocked = node.sequence is not None and node.sequence.blocked
    return walk.mode is Mode.RUNNING and not blocked


def failed_for_good(walk: SchedulerState, node: JobNode) -> None:
    """Let the job's sequence fail, or the first one around it that can still be retried.

    Without any, the job stays failed and other branches go on.
    """
    if node.sequence is None or walk.mode not in _RETRYING:
        return
    sequence = retried_for(node)
    if sequence is not None and not any(outer.failing for outer in node.sequence.lineage):
        _fail(walk, sequence)


def cut_off(walk: SchedulerState, sequence: SequenceNode, cause: str) -> None:
    """Let a sequence fail that has used up its time, and stop its jobs.

    What fails is its first job, complete or not. If that one runs, it is stopped first.
    """
    if sequence.first.state is State.RUNNING:
        sequence.overdue = cause
        walk.tell_to_stop(sequence.first, StopCause.OVERDUE, cause)
        return
    for inner in sequence.all_within():
        inner.failing = False
    for node in sequence.all_jobs():
        walk.release(node)
        if node.state is State.RUNNING:
            walk.tell_to_stop(node, StopCause.OVERDUE, cause)
    fail_unstarted(walk, sequence.first, cause)
    failed_for_good(walk, sequence.first)


def try_ended(walk: SchedulerState, node: JobNode) -> None:
    """Do what waited for a try to end: fail what is overdue, roll back what has failed."""
    sequence = node.sequence
    if sequence is None or walk.mode not in _RETRYING:
        return
    if node.opens and sequence.overdue and node.state is not State.FAIL:
        cut_off(walk, sequence, sequence.overdue)
    _roll_back_if_quiet(walk, sequence)


def _roll_back_if_quiet(walk: SchedulerState, sequence: SequenceNode) -> None:
    """Roll back the outermost sequence that has failed, if no job of it runs any more."""
    failing = [outer for outer in sequence.lineage if outer.failing]
    if failing and not failing[-1].running:
        _roll_back(walk, failing[-1])


def fail_unstarted(walk: SchedulerState, node: JobNode, cause: str) -> None:
    """A job fails without being started. It has an entry, so that this survives the runner."""
    if node.state is State.COMPLETE:
        walk.record.taken_back(node)
        node.settled = False
    node.total += 1
    node.state = State.FAIL
    node.error = cause
    walk.record.enter(node, TryOutcome(State.FAIL, cause, hopeless=True))
    walk.record.publish(node)


def _fail(walk: SchedulerState, sequence: SequenceNode) -> None:
    sequence.failing = True
    for node in sequence.all_jobs():
        walk.release(node)
        if node.state is State.RUNNING:
            walk.withdraw(node)
    _roll_back_if_quiet(walk, sequence)


def _roll_back(walk: SchedulerState, sequence: SequenceNode) -> None:
    """Make every job of the sequence as if it had never run, and give back nested tries."""
    within = sequence.all_within()
    inside = set(map(id, within))
    nodes = [node for inner in within for node in inner.members]
    for inner in within:
        walk.unlimit(inner)
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
        reset(walk, node)
        if node.element is not None and node is not sequence.first:
            node.element.leave()
    for node in nodes:
        node.waiting = sum(not parent.settled for parent in node.parents)
    sequence.first.after = walk.record.position
    walk.queue.append(sequence.first)


def reset(walk: SchedulerState, node: JobNode) -> None:
    """Make a job as if it had never run, its try numbers apart."""
    walk.release(node)
    changed = node.state is not State.PENDING
    if node.state is State.COMPLETE:
        walk.record.taken_back(node)
    node.state = State.PENDING
    node.latest = 0
    node.position = 0
    node.output = None
    node.percent = None
    if changed:
        walk.record.publish(node)
