"""State machine of a running chain, without clock, task or socket: events in, commands out."""

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
    after_try,
    fail_permanently,
    fail_unstarted,
    may_close,
    time_out,
)
from spincycle.chain.suspension import inputs_of, load, save, uncount_try
from spincycle.chain.try_outcome import COMPLETE, StopCause, TryOutcome, classify, seconds_text
from spincycle.chain.waiting import ALL_WAITS, WaitSelection, waits_on_runner
from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spincycle.chain.commands import Command
    from spincycle.chain.waiting import WaitingJob
    from spincycle.job.job import Progress
    from spincycle.model.job_chain import JobChain, SuspendedJobChain, Value
    from spincycle.model.job_status import JobStatus

INTERRUPTED = "interrupted: the runner ended during this try, which must not be run again"

_STOP_CAUSES = {
    Mode.SUSPENDING: StopCause.SUSPEND,
    Mode.STOPPING: StopCause.STOP,
    Mode.OVERDUE: StopCause.OVERDUE,
}


class ChainState:
    """State of one chain: each event is a method that returns the resulting commands.

    Execute the commands in order. `now` is in nanoseconds since 1970, UTC. `record` has the
    counts and positions of what was journalled and published.
    """

    __slots__ = (
        "_awaiting_commit", "_by_index", "_graph", "_interrupted", "_reason", "_scheduler",
        "_uncommitted", "record",
    )  # fmt: skip

    def __init__(self, graph: ChainGraph, record: ChainRecord, draw: Callable[[], float]) -> None:
        self._graph = graph
        self.record = record
        self._scheduler = SchedulerState(graph, record, draw)
        self._reason = ""
        self._awaiting_commit: list[tuple[int, int]] = []
        self._by_index = list(graph.jobs.values())
        self._uncommitted: list[tuple[int, int]] = []
        self._interrupted: list[JobNode] = []

    @classmethod
    def new(cls, chain: JobChain, epoch: int, draw: Callable[[], float]) -> ChainState:
        """Return the state of a valid new chain, which is not modified.

        `draw` returns random numbers in [0, 1) for jittered waits.
        """
        return cls(ChainGraph(chain), ChainRecord(chain.request_id, epoch, 0), draw)

    @classmethod
    def resumed(
        cls, suspended: SuspendedJobChain, epoch: int, draw: Callable[[], float]
    ) -> ChainState:
        """Return the state of a suspended chain that is resumed under a new epoch."""
        graph = ChainGraph(suspended.job_chain)
        record = ChainRecord(suspended.request_id, epoch, suspended.journal_position)
        state = cls(graph, record, draw)
        state._interrupted = load(suspended, graph, record)
        return state

    def start(self, now: int) -> list[Command]:
        """Start the chain; call it once."""
        self.record.now = now
        if self._graph.chain.timeout is not None:
            self._scheduler.start_request_timeout(self._graph.chain.timeout)
        for sequence in self._graph.sequences.values():
            if sequence.tries and sequence.remaining:
                self._scheduler.start_timeout(sequence)
        for node in self._interrupted:
            self._enter_failure(node, TryOutcome(State.FAIL, INTERRUPTED), None)
        for node in self._interrupted:
            self._follow_failure(node)
        ready = (node for node in self._by_index if not node.waiting)
        self._scheduler.queue += (node for node in ready if node.state is State.PENDING)
        return self.proceed(now)

    def proceed(self, now: int) -> list[Command]:
        """Continue scheduling, as requested by a `Continue` command."""
        self.record.now = now
        return self._proceed()

    def started(self, job_id: str, now: int) -> list[Command]:
        """Handle that a try has left the runner's queue and runs."""
        self.record.now = now
        if (node := self._scheduler.running.get(job_id)) is not None:
            node.started_at = now
            self.record.publish(node)
        return self.record.take()

    def reported(self, job_id: str, progress: Progress, now: int) -> list[Command]:
        """Handle a progress report of a running job."""
        self.record.now = now
        if (node := self._scheduler.running.get(job_id)) is not None:
            node.text, node.percent = progress.text, progress.percent
            self.record.publish(node)
        return self.record.take()

    def ended(self, job_id: str, end: TryEnd, now: int) -> list[Command]:
        """Handle the end of a try."""
        self.record.now = now
        node = self._scheduler.remove_running(job_id)
        outcome = classify(node.job, end, node.stop_cause, node.stop_reason)
        node.stop_cause, node.stop_reason, node.text = StopCause.NONE, "", ""
        if not end.started:
            node.total -= 1
            uncount_try(node)
            node.state = self._state_without_retry if node.latest else State.PENDING
        elif outcome.state is State.COMPLETE:
            self._completed(node, end)
        elif outcome.state is State.STOPPED:
            node.state = State.STOPPED
            self._append_entry(node, outcome, end)
        else:
            self._enter_failure(node, outcome, end)
            self._follow_failure(node)
        after_try(self._scheduler, node)
        return self._proceed()

    def committed(self, position: int, now: int) -> list[Command]:
        """Handle that all entries up to a position are committed."""
        self.record.now = now
        self.record.committed = max(self.record.committed, position)
        return self._proceed()

    def elapsed(self, token: int, now: int) -> list[Command]:
        """Handle that a timer expired; a cancelled timer is ignored."""
        self.record.now = now
        timed = self._scheduler.elapsed(token)
        if isinstance(timed, JobNode):
            self._scheduler.queue.append(timed)
        elif isinstance(timed, SequenceNode):
            limit = seconds_text(timed.first.job.sequence_timeout or 0)
            reason = f"sequence {timed.display_name} took longer than {limit}"
            time_out(self._scheduler, timed, reason)
        elif timed is not None:
            limit = seconds_text(self._graph.chain.timeout or 0)
            self._halt(Mode.OVERDUE, f"the request took longer than {limit}")
        return self._proceed()

    def stop(self, reason: str, now: int) -> list[Command]:
        """Stop the chain for good: start no job and stop the running ones; overrides a suspend."""
        self.record.now = now
        if self._scheduler.mode in (Mode.RUNNING, Mode.SUSPENDING):
            self._halt(Mode.STOPPING, reason)
        return self._proceed()

    def suspend(self, now: int) -> list[Command]:
        """Suspend the chain: start no job and stop the running ones so that it can be resumed."""
        self.record.now = now
        if self._scheduler.mode is Mode.RUNNING:
            self._halt(Mode.SUSPENDING, "")
        return self._proceed()

    @property
    def counts(self) -> tuple[int, int]:
        """Number of jobs that completed in this run, and how many of them were rolled back."""
        return self.record.ever_complete, self.record.rolled_back

    def inputs(self, job_id: str) -> dict[str, Value]:
        """Return the job data for a try; copy it, since other jobs share its values."""
        return inputs_of(self._graph.jobs[job_id])

    def active(self) -> Iterator[tuple[int, str]]:
        """Yield jobs that run, wait for a slot or wait between tries, as (start, job id)."""
        for node in self._scheduler.running.values():
            yield node.started_at, node.job.id
        for node in self._scheduler.delayed_jobs():
            yield node.started_at, node.job.id

    def status(self, job_id: str) -> JobStatus:
        """Return the current status of a job."""
        return status_of(self._graph.jobs[job_id], self.record.request_id)

    def started_jobs(self) -> list[JobStatus]:
        """Return the status of each job that has started at least once or waits between tries."""
        nodes = (node for node in self._by_index if node.total or node.retry_at)
        return [status_of(node, self.record.request_id) for node in nodes]

    def waits(self, which: WaitSelection = ALL_WAITS) -> Iterator[WaitingJob]:
        """Yield the waiting jobs, whatever their reasons."""
        return waits_on_runner(self._graph, which)

    def _proceed(self) -> list[Command]:
        """Schedule what can run, and end the chain if nothing can run any more."""
        committed, queue = self.record.committed, self._scheduler.queue
        while self._uncommitted and self._uncommitted[0][0] <= committed:
            position, index = heappop(self._uncommitted)
            node = self._by_index[index]
            if node.position == position:
                self._settle(node)
        while self._awaiting_commit and self._awaiting_commit[0][0] <= committed:
            queue.append(self._by_index[heappop(self._awaiting_commit)[1]])
        if self._scheduler.process_queue(self._consider):
            self._conclude()
        else:
            self.record.emit(Continue())
        return self.record.take()

    def _consider(self, node: JobNode) -> None:
        """Start a job unless something blocks it; whatever unblocks it queues it again."""
        if self._scheduler.mode is not Mode.RUNNING or node.state is not State.PENDING:
            return
        if node.waiting or node.wait is not None:
            return
        if (sequence := node.sequence) is not None and sequence.blocked:
            return
        if node.element is not None and not node.element.admitted and not node.element.enter():
            return
        if sequence is not None and node.opens and not node.latest and sequence.tries:
            if not sequence.waited and self._delay_sequence(sequence):
                return
            sequence.waited = True
        required = self._required_position(node)
        if required > self.record.committed:
            heappush(self._awaiting_commit, (required, node.index))
        elif node.latest > node.job.retry:
            fail_unstarted(self._scheduler, node, "no tries left")
            fail_permanently(self._scheduler, node)
        else:
            self._start_try(node)

    def _delay_sequence(self, sequence: SequenceNode) -> bool:
        job = sequence.first.job
        backoff = job.backoff if job.structural else None
        seconds = wait_before_retry(
            job.sequence_retry_wait, backoff, sequence.tries, self._scheduler.draw
        )
        if seconds <= 0:
            return False
        sequence.waited = True
        self._scheduler.delay(sequence.first, seconds)
        self.record.publish(sequence.first)
        return True

    def _required_position(self, node: JobNode) -> int:
        if node.job.fail_if_interrupted and not node.job.structural:
            return max(node.after, *(parent.position for parent in node.parents), 0)
        return node.after

    def _start_try(self, node: JobNode) -> None:
        sequence = node.sequence
        if sequence is not None and node.opens and not node.latest:
            sequence.tries += 1
            sequence.waited = False
            self._scheduler.start_timeout(sequence)
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
        self._scheduler.add_running(node)
        self.record.emit(StartTry(node.job.id, node.total, is_retry=node.latest > 1, key=node.key))

    def _completed(self, node: JobNode, end: TryEnd) -> None:
        structural = node.job.structural
        node.output = inputs_of(node) if structural else end.data
        self.record.mark_complete(node)
        if node.sequence is not None:
            for sequence in node.sequence.lineage:
                if not sequence.remaining:
                    self._scheduler.cancel_timeout(sequence)
        self._append_entry(node, COMPLETE, end, None if structural else end.data)
        if structural and not node.waiting:
            self._settle(node)
            return
        heappush(self._uncommitted, (node.position, node.index))
        for child in node.children:
            if not child.incomplete and may_close(self._scheduler, child):
                self._start_try(child)

    def _settle(self, node: JobNode) -> None:
        """Count a completion for the children: it is committed or needs no commit."""
        node.settled = True
        if node.closes is not None:
            node.closes.close()
            waiting = node.closes.window.next_waiting()
            if waiting is not None:
                self._scheduler.queue.append(waiting.first)
        for child in node.children:
            if child.waiting:
                child.waiting -= 1
                if not child.waiting:
                    self._scheduler.queue.append(child)

    def _enter_failure(self, node: JobNode, outcome: TryOutcome, end: TryEnd | None) -> None:
        non_retryable = outcome.non_retryable or node.latest > node.job.retry
        node.state = State.FAIL if non_retryable else self._state_without_retry
        self._append_entry(node, TryOutcome(State.FAIL, outcome.error, non_retryable), end)
        node.after = node.position

    def _follow_failure(self, node: JobNode) -> None:
        if node.state is State.FAIL:
            fail_permanently(self._scheduler, node)
        elif self._scheduler.mode is Mode.RUNNING and node.state is State.PENDING and node.latest:
            self._wait_for_retry(node)

    @property
    def _state_without_retry(self) -> State:
        """State of a job that has tries left in a chain that starts none."""
        if self._scheduler.mode is Mode.STOPPING:
            return State.STOPPED
        return State.FAIL if self._scheduler.mode is Mode.OVERDUE else State.PENDING

    def _wait_for_retry(self, node: JobNode) -> None:
        if node.sequence is not None and node.sequence.blocked:
            return
        job = node.job
        seconds = wait_before_retry(job.retry_wait, job.backoff, node.latest, self._scheduler.draw)
        if seconds > 0:
            self._scheduler.delay(node, seconds)
            self.record.publish(node)
        else:
            self._scheduler.queue.append(node)

    def _append_entry(
        self,
        node: JobNode,
        outcome: TryOutcome,
        end: TryEnd | None,
        data: dict[str, Value] | None = None,
    ) -> None:
        if end is not None:
            node.started_at, node.finished_at = end.started_at, end.finished_at
        node.error = outcome.error
        self.record.append_entry(node, outcome, end, data)
        self.record.publish(node)

    def _halt(self, mode: Mode, reason: str) -> None:
        """Start no more jobs and stop the running ones."""
        self._scheduler.mode, self._reason = mode, reason
        self._scheduler.cancel_all()
        for node in self._by_index:
            if node.state is State.PENDING and node.latest:
                node.state = self._state_without_retry
                self.record.publish(node)
        for node in self._scheduler.running.values():
            self._scheduler.stop_try(node, _STOP_CAUSES[mode], reason)

    def _conclude(self) -> None:
        scheduler = self._scheduler
        busy = scheduler.running or scheduler.delayed or not self.record.all_committed
        if busy or scheduler.mode is Mode.ENDED:
            return
        states = {node.state for node in self._by_index}
        if states == {State.COMPLETE}:
            self._finish(State.COMPLETE, "")
        elif scheduler.mode is Mode.SUSPENDING and any(node.can_run for node in self._by_index):
            scheduler.mode = Mode.ENDED
            self.record.emit(Suspend(partial(save, self._graph, self.record)))
        elif scheduler.mode is Mode.STOPPING and State.FAIL not in states:
            self._finish(State.STOPPED, self._reason)
        else:
            self._finish(State.FAIL, self._reason or first_failure(self._by_index))

    def _finish(self, state: State, reason: str) -> None:
        record = self.record
        self._scheduler.mode = Mode.ENDED
        self._scheduler.cancel_all()
        record.emit(
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
