"""The moving parts of a chain under way: what runs, what is queued, what waits for a time."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

from spincycle.chain.chain_graph import JobNode, SequenceNode
from spincycle.chain.commands import CancelWait, StopTry, Wait, WithdrawTry
from spincycle.chain.verdict import StopCause
from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.chain.chain_graph import ChainGraph
    from spincycle.chain.chain_record import ChainRecord


class Mode(Enum):
    """What is being done with a chain."""

    RUNNING = "running"
    SUSPENDING = "suspending"
    STOPPING = "stopping"
    OVERDUE = "overdue"
    ENDED = "ended"


AT_ONCE = 2000
"""Jobs that are looked at before the runner gets to do something else."""

Timed: TypeAlias = "JobNode | SequenceNode | Literal['request']"
"""What a timer is for: a job's (or its sequence's) wait, or a time limit."""


class SchedulerState:
    """State that the rules of jobs and the rules of sequences share.

    Attributes:
        draw: random numbers from 0 up to, but not including, 1.
        queue: jobs to look at again, because something they wait for has happened.
        running: jobs with a try that has not ended, by id.
        held: how many jobs wait for a time.
    """

    __slots__ = (
        "_timers", "_tokens", "draw", "graph", "held", "mode", "queue", "record", "running",
    )  # fmt: skip

    def __init__(self, graph: ChainGraph, record: ChainRecord, draw: Callable[[], float]) -> None:
        self.mode = Mode.RUNNING
        self.graph = graph
        self.record = record
        self.draw = draw
        self.queue: list[JobNode] = []
        self.running: dict[str, JobNode] = {}
        self.held = 0
        self._timers: dict[int, Timed] = {}
        self._tokens = 0

    def consider(self, look: Callable[[JobNode], None]) -> bool:
        """Look at the next jobs of the queue, which may grow; return whether it is empty then."""
        looked = 0
        while looked < AT_ONCE and looked < len(self.queue):
            look(self.queue[looked])
            looked += 1
        del self.queue[:looked]
        return not self.queue

    def hold(self, node: JobNode, seconds: float) -> None:
        """Look at a job again when a time has passed."""
        node.wait = self._timer(node, seconds)
        node.retry_at = self.record.now + int(seconds * 1e9)
        self.held += 1

    def release(self, node: JobNode) -> None:
        """End a job's wait early, or at its time."""
        if node.wait is not None:
            self._cancel(node.wait)
            node.wait = None
            node.retry_at = 0
            self.held -= 1

    def limit(self, sequence: SequenceNode) -> None:
        """Start the clock of a sequence's try, if it has a limit."""
        self.unlimit(sequence)
        if sequence.first.job.sequence_timeout is not None:
            sequence.timer = self._timer(sequence, sequence.first.job.sequence_timeout)

    def unlimit(self, sequence: SequenceNode) -> None:
        """Stop that clock."""
        if sequence.timer is not None:
            self._cancel(sequence.timer)
            sequence.timer = None

    def limit_request(self, seconds: float) -> None:
        """Start the clock of the whole chain."""
        self._timer("request", seconds)

    def elapsed(self, token: int) -> Timed | None:
        """What a timer was for; None if it is cancelled."""
        timed = self._timers.get(token)
        if isinstance(timed, JobNode):
            self.release(timed)
        elif isinstance(timed, SequenceNode):
            self.unlimit(timed)
        elif timed is not None:
            del self._timers[token]
        return timed

    def cancel_all(self) -> list[JobNode]:
        """Cancel every timer; answers the jobs that were held."""
        held = [timed for timed in self._timers.values() if isinstance(timed, JobNode)]
        for node in held:
            self.release(node)
        for token, timed in list(self._timers.items()):
            self._cancel(token)
            if isinstance(timed, SequenceNode):
                timed.timer = None
        return held

    def waiting_jobs(self) -> list[JobNode]:
        """Jobs that wait for a time."""
        if not self.held:
            return []
        return [timed for timed in self._timers.values() if isinstance(timed, JobNode)]

    def tell_to_stop(self, node: JobNode, order: StopCause, cause: str = "") -> None:
        """Stop a running job, once; the reason may become a graver one."""
        if node.order is StopCause.NONE:
            self.record.order(StopTry(node.job.id))
        if node.order is not StopCause.OVERDUE:
            node.order, node.cause = order, cause

    def withdraw(self, node: JobNode) -> None:
        """Do not begin a try that has not begun yet."""
        self.record.order(WithdrawTry(node.job.id))

    def set_running(self, node: JobNode) -> None:
        """Count a try as under way."""
        node.state = State.RUNNING
        self.running[node.job.id] = node
        if node.sequence is not None:
            for sequence in node.sequence.lineage:
                sequence.running += 1

    def take_running(self, job_id: str) -> JobNode:
        """Count a try as ended."""
        node = self.running.pop(job_id)
        if node.sequence is not None:
            for sequence in node.sequence.lineage:
                sequence.running -= 1
        return node

    def _timer(self, timed: Timed, seconds: float) -> int:
        self._tokens += 1
        self._timers[self._tokens] = timed
        self.record.order(Wait(self._tokens, seconds))
        return self._tokens

    def _cancel(self, token: int) -> None:
        if self._timers.pop(token, None) is not None:
            self.record.order(CancelWait(token))
