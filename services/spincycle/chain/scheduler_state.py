"""Scheduler state of a running chain: running tries, queued jobs and timers."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

from spincycle.chain.chain_graph import JobNode, SequenceNode
from spincycle.chain.commands import CancelWait, StopTry, Wait, WithdrawTry
from spincycle.chain.try_outcome import StopCause
from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.chain.chain_graph import ChainGraph
    from spincycle.chain.chain_record import ChainRecord


class Mode(Enum):
    """Phase of a chain."""

    RUNNING = "running"
    SUSPENDING = "suspending"
    STOPPING = "stopping"
    OVERDUE = "overdue"
    ENDED = "ended"


BATCH_JOBS = 2000
"""Queued jobs that are processed before the runner handles other work."""

Limited: TypeAlias = "SequenceNode | Literal['request']"
"""Owner of a timeout: a sequence or the request."""

Timed: TypeAlias = "JobNode | Limited"
"""Owner of a timer: a job that waits for a retry, or what has a timeout."""


class SchedulerState:
    """State that the rules of jobs and the rules of sequences share.

    Attributes:
        draw: returns random numbers in [0, 1).
        queue: jobs to consider again because something that they wait for has happened.
        running: jobs with a running try, by id.
        delayed: number of jobs that wait for a timer.
    """

    __slots__ = (
        "_timers", "_tokens", "delayed", "draw", "graph", "mode", "queue", "record", "running",
    )  # fmt: skip

    def __init__(self, graph: ChainGraph, record: ChainRecord, draw: Callable[[], float]) -> None:
        self.mode = Mode.RUNNING
        self.graph = graph
        self.record = record
        self.draw = draw
        self.queue: list[JobNode] = []
        self.running: dict[str, JobNode] = {}
        self.delayed = 0
        self._timers: dict[int, Timed] = {}
        self._tokens = 0

    @property
    def state_without_retry(self) -> State:
        """State of a job that has tries left in a chain that starts none."""
        if self.mode is Mode.STOPPING:
            return State.STOPPED
        return State.FAIL if self.mode is Mode.OVERDUE else State.PENDING

    def process_queue(self, visit: Callable[[JobNode], None]) -> bool:
        """Visit the next jobs of the queue, which may grow; return whether it is empty."""
        visited = 0
        while visited < BATCH_JOBS and visited < len(self.queue):
            visit(self.queue[visited])
            visited += 1
        del self.queue[:visited]
        return not self.queue

    def delay(self, node: JobNode, seconds: float) -> None:
        """Delay a job: queue it again after `seconds`."""
        node.wait = self._timer(node, seconds)
        node.retry_at = self.record.now + int(seconds * 1e9)
        self.delayed += 1

    def resume(self, node: JobNode) -> None:
        """End the delay of a job, if there is one."""
        if node.wait is not None:
            self._cancel(node.wait)
            node.wait = None
            node.retry_at = 0
            self.delayed -= 1

    def start_timeout(self, sequence: SequenceNode) -> None:
        """Start the timeout of a sequence's new try, if it has one."""
        self.cancel_timeout(sequence)
        if sequence.first.job.sequence_timeout is not None:
            sequence.started_at = self.record.now
            self.continue_timeout(sequence, sequence.first.job.sequence_timeout)

    def continue_timeout(self, sequence: SequenceNode, seconds: float) -> None:
        """Start the timeout of a sequence's current try, of which `seconds` are left."""
        sequence.timer = self._timer(sequence, seconds)

    def cancel_timeout(self, sequence: SequenceNode) -> None:
        """Cancel the timeout of a sequence's try."""
        if sequence.timer is not None:
            self._cancel(sequence.timer)
            sequence.timer = None

    def start_request_timeout(self, seconds: float) -> None:
        """Start the timeout of the whole chain, of which `seconds` are left."""
        self._timer("request", seconds)

    def elapsed(self, token: int) -> Timed | None:
        """Remove an expired timer and return its owner; None if it was cancelled."""
        timed = self._timers.get(token)
        if isinstance(timed, JobNode):
            self.resume(timed)
        elif isinstance(timed, SequenceNode):
            self.cancel_timeout(timed)
        elif timed is not None:
            del self._timers[token]
        return timed

    def cancel_all(self) -> list[JobNode]:
        """Cancel every timer; return the jobs that were delayed."""
        delayed = [timed for timed in self._timers.values() if isinstance(timed, JobNode)]
        for node in delayed:
            self.resume(node)
        for token, timed in list(self._timers.items()):
            self._cancel(token)
            if isinstance(timed, SequenceNode):
                timed.timer = None
        return delayed

    def delayed_jobs(self) -> list[JobNode]:
        """Return the jobs that wait for a timer."""
        if not self.delayed:
            return []
        return [timed for timed in self._timers.values() if isinstance(timed, JobNode)]

    def stop_try(self, node: JobNode, stop_cause: StopCause, reason: str = "") -> None:
        """Stop a running try, once; OVERDUE replaces an earlier cause, but not the reverse."""
        if node.stop_cause is StopCause.NONE:
            self.record.emit(StopTry(node.job.id))
        if node.stop_cause is not StopCause.OVERDUE:
            node.stop_cause, node.stop_reason = stop_cause, reason

    def withdraw(self, node: JobNode) -> None:
        """Withdraw a try that has not started yet."""
        self.record.emit(WithdrawTry(node.job.id))

    def add_running(self, node: JobNode) -> None:
        """Count a try as running."""
        node.state = State.RUNNING
        self.running[node.job.id] = node
        if node.sequence is not None:
            for sequence in node.sequence.lineage:
                sequence.running += 1

    def remove_running(self, job_id: str) -> JobNode:
        """Count a try as ended."""
        node = self.running.pop(job_id)
        if node.sequence is not None:
            for sequence in node.sequence.lineage:
                sequence.running -= 1
        return node

    def _timer(self, timed: Timed, seconds: float) -> int:
        self._tokens += 1
        self._timers[self._tokens] = timed
        self.record.emit(Wait(self._tokens, seconds))
        return self._tokens

    def _cancel(self, token: int) -> None:
        if self._timers.pop(token, None) is not None:
            self.record.emit(CancelWait(token))
