"""The rules of running a chain, without a clock, a task or a socket: events in, commands out."""

from __future__ import annotations

from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from spincycle.chain.chain_graph import ChainGraph, JobNode, SequenceNode, first_failure
from spincycle.chain.chain_record import ChainRecord, status_of
from spincycle.chain.commands import Continue, Finish, FinishReport, StartTry, Suspend, TryEnd
from spincycle.chain.retry_wait import wait_before_retry
from spincycle.chain.scheduler_state import Mode, SchedulerState
from spincycle.chain.sequence_rules import (
    cut_off,
    fail_unstarted,
    failed_for_good,
    may_close,
    try_ended,
)
from spincycle.chain.suspension import give_back_try, inputs_of, load, save
from spincycle.chain.verdict import COMPLETE, StopCause, TryOutcome, judge, seconds_text
from spincycle.chain.waiting import ALL_WAITS, WaitSelection, waits_under_way
from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spincycle.chain.commands import Command
    from spincycle.chain.waiting import WaitingJob
    from spincycle.job.job import Progress
    from spincycle.model.job_chain import JobChain, SuspendedJobChain, Value
    from spincycle.model.job_status import JobStatus

INTERRUPTED = "interrupted: the runner ended during this try, which must not be run again"

_ORDERS = {
    Mode.SUSPENDING: StopCause.SUSPEND,
    Mode.STOPPING: StopCause.STOP,
    Mode.OVERDUE: StopCause.OVERDUE,
}


class ChainState:
    """One chain on its way: each event is a method that answers the commands it gives rise to.

    Commands are to be carried out in order. `now` is nanoseconds since 1970. `record` has what
    was journalled and published so far.
    """

    __slots__ = (
        "_by_index", "_gated", "_graph", "_interrupted", "_reason", "_uncommitted", "_walk",
        "record",
    )  # fmt: skip

    def __init__(self, graph: ChainGraph, record: ChainRecord, draw: Callable[[], float]) -> None:
        self._graph = graph
        self.record = record
        self._walk = SchedulerState(graph, record, draw)
        self._reason = ""
        self._gated: list[tuple[int, int]] = []
        self._by_index = list(graph.jobs.values())
        self._uncommitted: list[tuple[int, int]] = []
        self._interrupted: list[JobNode] = []

    @classmethod
    def new(cls, chain: JobChain, epoch: int, draw: Callable[[], float]) -> ChainState:
        """The state of a chain that never ran. The chain must be valid; it is not changed.

        `draw` gives random numbers from 0 up to, but not including, 1, for jittered waits.
        """
        return cls(ChainGraph(chain), ChainRecord(chain.request_id, epoch, 0), draw)

    @classmethod
    def resumed(
        cls, suspended: SuspendedJobChain, epoch: int, draw: Callable[[], float]
    ) -> ChainState:
        """The state of a chain that ran before, now under an epoch of its own."""
        graph = ChainGraph(suspended.job_chain)
        record = ChainRecord(suspended.request_id, epoch, suspended.journal_position)
        state = cls(graph, record, draw)
        state._interrupted = load(suspended, graph, record)
        return state

    def start(self, now: int) -> list[Command]:
        """Begin, once."""
        self.record.now = now
        if self._graph.chain.timeout is not None:
            self._walk.limit_request(self._graph.chain.timeout)
        for sequence in self._graph.sequences.values():
            if sequence.tries and sequence.remaining:
                self._walk.limit(sequence)
        for node in self._interrupted:
            self._enter_failure(node, TryOutcome(State.FAIL, INTERRUPTED), None)
        for node in self._interrupted:
            self._follow_failure(node)
        ready = (node for node in self._by_index if not node.waiting)
        self._walk.queue += (node for node in ready if node.state is State.PENDING)
        return self.go_on(now)

    def go_on(self, now: int) -> list[Command]:
        """Do what `Continue` asked for."""
        self.record.now = now
        return self._go_on()

    def began(self, job_id: str, now: int) -> list[Command]:
        """A try that was started has left the runner's queue."""
        self.record.now = now
        if (node := self._walk.running.get(job_id)) is not None:
            node.started_at = now
            self.record.publish(node)
        return self.record.take()

    def reported(self, job_id: str, progress: Progress, now: int) -> list[Command]:
        """A running job told how far it is."""
        self.record.now = now
        if (node := self._walk.running.get(job_id)) is not None:
            node.text, node.percent = progress.text, progress.percent
            self.record.publish(node)
        return self.record.take()

    def ended(self, job_id: str, end: TryEnd, now: int) -> list[Command]:
        """A try that was started has ended."""
        self.record.now = now
        node = self._walk.take_running(job_id)
        verdict = judge(node.job, end, node.order, node.cause)
        node.order, node.cause, node.text = StopCause.NONE, "", ""
        if not end.begun:
            node.total -= 1
            give_back_try(node)
            node.state = self._given_up if node.latest else State.PENDING
        elif verdict.state is State.COMPLETE:
            self._completed(node, end)
        elif verdict.state is State.STOPPED:
            node.state = State.STOPPED
            self._enter(node, verdict, end)
        else:
            self._enter_failure(node, verdict, end)
            self._follow_failure(node)
        try_ended(self._walk, node)
        return self._go_on()

    def committed(self, position: int, now: int) -> list[Command]:
        """All entries up to a position are committed."""
        self.record.now = now
        self.record.committed = max(self.record.committed, position)
        return self._go_on()

    def elapsed(self, token: int, now: int) -> list[Command]:
        """A wait is over. One that was cancelled may be told all the same."""
        self.record.now = now
        timed = self._walk.elapsed(token)
        if isinstance(timed, JobNode):
            self._walk.queue.append(timed)
        elif isinstance(timed, SequenceNode):
            limit = seconds_text(timed.first.job.sequence_timeout or 0)
            cut_off(self._walk, timed, f"sequence {timed.first.job.name} took longer than {limit}")
        elif timed is not None:
            limit = seconds_text(self._graph.chain.timeout or 0)
            self._halt(Mode.OVERDUE, f"the request took longer than {limit}")
        return self._go_on()

    def stop(self, reason: str, now: int) -> list[Command]:
        """Run no more jobs and stop those that run, for good. May come after a suspend."""
        self.record.now = now
        if self._walk.mode in (Mode.RUNNING, Mode.SUSPENDING):
            self._halt(Mode.STOPPING, reason)
        return self._go_on()

    def suspend(self, now: int) -> list[Command]:
        """Stop the running jobs in such a way that the chain can be resumed."""
        self.record.now = now
        if self._walk.mode is Mode.RUNNING:
            self._halt(Mode.SUSPENDING, "")
        return self._go_on()

    @property
    def counts(self) -> tuple[int, int]:
        """Jobs that ever completed in this run, and those of them that were rolled back."""
        return self.record.ever_complete, self.record.rolled_back

    def inputs(self, job_id: str) -> dict[str, Value]:
        """Job data for a try. Shared with other jobs: to be copied, never changed."""
        return inputs_of(self._graph.jobs[job_id])

    def under_way(self) -> Iterator[tuple[int, str]]:
        """Jobs that run, wait for a place or wait between tries: start of the try, and id."""
        for node in self._walk.running.values():
            yield node.started_at, node.job.id
        for node in self._walk.waiting_jobs():
            yield node.started_at, node.job.id

    def status(self, job_id: str) -> JobStatus:
        """What is known of a job now."""
        return status_of(self._graph.jobs[job_id], self.record.request_id)

    def started(self) -> list[JobStatus]:
        """How every job is that has started at least once, or waits between tries."""
        nodes = (node for node in self._by_index if node.total or node.retry_at)
        return [status_of(node, self.record.request_id) for node in nodes]

    def waits(self, which: WaitSelection = ALL_WAITS) -> Iterator[WaitingJob]:
        """Return the waiting jobs, whatever their reasons."""
        return waits_under_way(self._graph, which)

    def _go_on(self) -> list[Command]:
        """Do everything that can be done now, and end the chain if nothing ever can be again."""
        committed, queue = self.record.committed, self._walk.queue
        while self._uncommitted and self._uncommitted[0][0] <= committed:
            position, index = heappop(self._uncommitted)
            node = self._by_index[index]
            if node.position == position:
                self._settle(node)
        while self._gated and self._gated[0][0] <= committed:
            queue.append(self._by_index[heappop(self._gated)[1]])
        if self._walk.consider(self._consider):
            self._conclude()
        else:
            self.record.order(Continue())
        return self.record.take()

    def _consider(self, node: JobNode) -> None:
        """Start a job if nothing stands in its way; what does will have it looked at again."""
        if self._walk.mode is not Mode.RUNNING or node.state is not State.PENDING:
            return
        if node.waiting or node.wait is not None:
            return
        if (sequence := node.sequence) is not None and sequence.blocked:
            return
        if node.element is not None and not node.element.admitted and not node.element.enter():
            return
        if sequence is not None and node.opens and not node.latest and sequence.tries:
            if not sequence.waited and self._hold_back(sequence):
                return
            sequence.waited = True
        required = self._required(node)
        if required > self.record.committed:
            heappush(self._gated, (required, node.index))
        elif node.latest > node.job.retry:
            fail_unstarted(self._walk, node, "no tries left")
            failed_for_good(self._walk, node)
        else:
            self._begin(node)

    def _hold_back(self, sequence: SequenceNode) -> bool:
        job = sequence.first.job
        backoff = job.backoff if job.structural else None
        seconds = wait_before_retry(
            job.sequence_retry_wait, backoff, sequence.tries, self._walk.draw
        )
        if seconds <= 0:
            return False
        sequence.waited = True
        self._walk.hold(sequence.first, seconds)
        self.record.publish(sequence.first)
        return True

    def _required(self, node: JobNode) -> int:
        if node.job.fail_if_interrupted and not node.job.structural:
            return max(node.after, *(parent.position for parent in node.parents), 0)
        return node.after

    def _begin(self, node: JobNode) -> None:
        sequence = node.sequence
        if sequence is not None and node.opens and not node.latest:
            sequence.tries += 1
            sequence.waited = False
            self._walk.limit(sequence)
        node.total += 1
        node.latest += 1
        node.error = ""
        node.percent = None
        node.finished_at = 0
        if node.job.structural:
            now = self.record.now
            self._completed(node, TryEnd(State.COMPLETE, started_at=now, finished_at=now))
            return
        node.started_at = 0
        self._walk.set_running(node)
        self.record.order(StartTry(node.job.id, node.total, again=node.latest > 1, key=node.key))

    def _completed(self, node: JobNode, end: TryEnd) -> None:
        structural = node.job.structural
        node.output = inputs_of(node) if structural else end.data
        self.record.completed(node)
        if node.sequence is not None:
            for sequence in node.sequence.lineage:
                if not sequence.remaining:
                    self._walk.unlimit(sequence)
        self._enter(node, COMPLETE, end, None if structural else end.data)
        if structural and not node.waiting:
            self._settle(node)
            return
        heappush(self._uncommitted, (node.position, node.index))
        for child in node.children:
            if not child.incomplete and may_close(self._walk, child):
                self._begin(child)

    def _settle(self, node: JobNode) -> None:
        """Let a completion count: it is committed, or need not be."""
        node.settled = True
        if node.closes is not None:
            node.closes.close()
            waiting = node.closes.window.next_waiting()
            if waiting is not None:
                self._walk.queue.append(waiting.first)
        for child in node.children:
            if child.waiting:
                child.waiting -= 1
                if not child.waiting:
                    self._walk.queue.append(child)

    def _enter_failure(self, node: JobNode, verdict: TryOutcome, end: TryEnd | None) -> None:
        hopeless = verdict.hopeless or node.latest > node.job.retry
        node.state = State.FAIL if hopeless else self._given_up
        self._enter(node, TryOutcome(State.FAIL, verdict.error, hopeless), end)
        node.after = node.position

    def _follow_failure(self, node: JobNode) -> None:
        if node.state is State.FAIL:
            failed_for_good(self._walk, node)
        elif self._walk.mode is Mode.RUNNING and node.state is State.PENDING and node.latest:
            self._wait_for_retry(node)

    @property
    def _given_up(self) -> State:
        """What a job is now that has tries left but no more of them begins."""
        if self._walk.mode is Mode.STOPPING:
            return State.STOPPED
        return State.FAIL if self._walk.mode is Mode.OVERDUE else State.PENDING

    def _wait_for_retry(self, node: JobNode) -> None:
        if node.sequence is not None and node.sequence.blocked:
            return
        job = node.job
        seconds = wait_before_retry(job.retry_wait, job.backoff, node.latest, self._walk.draw)
        if seconds > 0:
            self._walk.hold(node, seconds)
            self.record.publish(node)
        else:
            self._walk.queue.append(node)

    def _enter(
        self,
        node: JobNode,
        verdict: TryOutcome,
        end: TryEnd | None,
        data: dict[str, Value] | None = None,
    ) -> None:
        if end is not None:
            node.started_at, node.finished_at = end.started_at, end.finished_at
        node.error = verdict.error
        self.record.enter(node, verdict, end, data)
        self.record.publish(node)

    def _halt(self, mode: Mode, reason: str) -> None:
        """Start nothing more and stop what runs."""
        self._walk.mode = mode
        self._reason = reason
        self._walk.cancel_all()
        for node in self._by_index:
            if node.state is State.PENDING and node.latest:
                node.state = self._given_up
                self.record.publish(node)
        for node in self._walk.running.values():
            self._walk.tell_to_stop(node, _ORDERS[mode], reason)

    def _conclude(self) -> None:
        walk = self._walk
        if walk.mode is Mode.ENDED or walk.running or walk.held or not self.record.all_committed:
            return
        states = {node.state for node in self._by_index}
        if states == {State.COMPLETE}:
            self._finish(State.COMPLETE, "")
        elif walk.mode is Mode.SUSPENDING and any(node.could_go_on for node in self._by_index):
            walk.mode = Mode.ENDED
            self.record.order(Suspend(partial(save, self._graph, self.record)))
        elif walk.mode is Mode.STOPPING and State.FAIL not in states:
            self._finish(State.STOPPED, self._reason)
        else:
            self._finish(State.FAIL, self._reason or first_failure(self._by_index))

    def _finish(self, state: State, reason: str) -> None:
        record = self.record
        self._walk.mode = Mode.ENDED
        self._walk.cancel_all()
        record.order(
            Finish(
                FinishReport(
                    request_id=record.request_id,
                    epoch=record.epoch,
                    state=state,
                    finished_at=record.now,
                    finished_jobs=record.ever_complete,
                    rolled_back_jobs=record.rolled_back,
                    reason=reason,
                )
            )
        )
