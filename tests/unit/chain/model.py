"""Reference model of the allowed histories of a chain, independent of the code under test.

The model processes every command and every event. It keeps the journal and a few facts per job, and
has no counters, queues or roll-backs: a sequence that restarts voids what its jobs did before, and
everything else is derived from the journal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.unit.chain.chains import around, inside, parents
from tests.unit.chain.fact import Fact, NotAllowed
from tests.unit.chain.keys import Keys

from spincycle.chain.commands import (
    Append,
    CancelWait,
    Command,
    Finish,
    FinishReport,
    Publish,
    StartTry,
    StopTry,
    Suspend,
    TryEnd,
    Wait,
    WithdrawTry,
)
from spincycle.model.job_chain import ChainJob, JobChain, SuspendedJobChain
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State


@dataclass(slots=True)
class Model:
    chain: JobChain
    entries: list[JournalEntry] = field(default_factory=list)
    committed: int = 0
    running: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    stopping: set[str] = field(default_factory=set)
    waits: set[int] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)
    keys: Keys = field(default_factory=Keys)
    given: set[str] = field(default_factory=set)
    facts: dict[str, Fact] = field(default_factory=dict)
    sequence_tries: dict[str, int] = field(default_factory=dict)
    overdue: set[str] = field(default_factory=set)
    rolled_back: dict[str, int] = field(default_factory=dict)
    ever: set[str] = field(default_factory=set)
    mode: str = "running"
    saved: SuspendedJobChain | None = None
    report: FinishReport | None = None
    published_finished: int = 0

    def __post_init__(self) -> None:
        self.facts = {job_id: Fact() for job_id in self.chain.jobs}

    def control(self, event: str) -> None:
        """Handle a stop, a suspend or the timeout of the request."""
        if event == "stop" and self.mode in ("running", "suspending"):
            self.mode = "stopping"
        elif event in ("suspend", "overdue") and self.mode == "running":
            self.mode = {"suspend": "suspending", "overdue": "overdue"}[event]

    def end_try(self, job_id: str, end: TryEnd) -> None:
        """Handle the end of a try; its entry must follow unless the try had not started."""
        number = self.running.pop(job_id)
        self.stopping.discard(job_id)
        if end.started:
            self.ended.add(job_id)
            return
        self.numbers[job_id] = number - 1
        self.given.discard(job_id)
        self._uncount_sequence_try(job_id)

    def _uncount_sequence_try(self, job_id: str) -> None:
        """Uncount the sequence's try if the uncounted try was the first of its first job."""
        if job_id == self.chain.jobs[job_id].sequence_id and not self.facts[job_id].fails:
            self.sequence_tries[job_id] -= 1
            if self.sequence_tries[job_id]:
                self.rolled_back[job_id] = 0

    def resume(self) -> None:
        """Handle the resumption of the saved state on another runner."""
        self.mode, self.saved, self.report = "running", None, None
        self._new_run()

    def crash(self) -> None:
        """Handle the loss of the runner and of everything that was not committed."""
        for entry in self.entries[::-1]:
            if entry.position > self.committed and not entry.started_at:
                self.numbers[entry.job_id] = entry.try_ - 1
        self.entries = [entry for entry in self.entries if entry.position <= self.committed]
        self.running.clear()
        self.ended.clear()
        self.stopping.clear()
        self.overdue.clear()
        self.sequence_tries.clear()
        self.rolled_back.clear()
        self.facts = {job_id: Fact() for job_id in self.chain.jobs}
        for entry in self.entries:
            self._apply_entry(entry)
        self.mode = "running"
        self._new_run()

    def _new_run(self) -> None:
        self.waits.clear()
        self.overdue.clear()
        self._roll_back()
        self.ever = {job for job, fact in self.facts.items() if fact.state is State.COMPLETE}
        self.published_finished = 0
        for job_id, fact in self.facts.items():
            job = self.chain.jobs[job_id]
            opened = job.sequence_id == job_id and self.sequence_tries.get(job_id, 0) > 0
            fact.started = opened or fact.fails > 0 or fact.state is not State.PENDING
            if fact.state is State.STOPPED:
                fact.state = State.PENDING

    def execute(self, commands: list[Command]) -> None:
        for index, command in enumerate(commands):
            if self.saved is not None or self.report is not None:
                raise NotAllowed(f"{command} after the end")
            if not any(map(_is_unstarted_failure, commands[index:])):
                self._roll_back()
            match command:
                case StartTry(job_id, number):
                    self._start(job_id, number)
                    self.keys.record(job_id, number, command.key, self.entries)
                case Append(entry):
                    self._append_entry(entry)
                case StopTry(job_id) | WithdrawTry(job_id):
                    if job_id not in self.running:
                        raise NotAllowed(f"{job_id} is stopped but is not running")
                    self.stopping.add(job_id)
                case Wait(token, _):
                    self.waits.add(token)
                case CancelWait(token):
                    self.waits.discard(token)
                case Publish(event, _):
                    self._published(event.finished_jobs, event.rolled_back_jobs)
                case Finish(report):
                    self._finish(report)
                case Suspend(save):
                    suspended = save()
                    self._suspend(suspended)
        self._roll_back()

    def _roll_back(self) -> None:
        """Void each failed sequence that has no running job."""
        if self.mode not in ("running", "suspending"):
            return
        for sequence in self._failed_sequences():
            if not set(inside(self.chain, sequence)) & (self.ended | set(self.running)):
                self._void(sequence)
                self.rolled_back[sequence] = self.entries[-1].position if self.entries else 0

    def _start(self, job_id: str, number: int) -> None:
        self._check_may_start(job_id)
        if number <= self.numbers.get(job_id, 0):
            raise NotAllowed(f"{job_id}: try {number} was used before")
        self.numbers[job_id] = number
        self.running[job_id] = number
        self.given.add(job_id)

    def _check_may_start(self, job_id: str) -> None:
        job = self.chain.jobs[job_id]
        if self.mode != "running":
            raise NotAllowed(f"{job_id} starts while the chain is {self.mode}")
        if job_id in self.running:
            raise NotAllowed(f"{job_id} starts while it runs")
        if self._is_cut_off(job_id):
            raise NotAllowed(f"{job_id} starts in a sequence that is over")
        self._check_sequence_may_start(job)
        fact = self.facts[job_id]
        if fact.state not in (State.PENDING, State.STOPPED):
            raise NotAllowed(f"{job_id} starts but is {fact.state.name}")
        if fact.fails > job.retry:
            raise NotAllowed(f"{job_id} has no tries left")
        for parent in parents(self.chain, job_id):
            self._check_parent(job_id, parent)
        if not job.structural and fact.fails and fact.position > self.committed:
            raise NotAllowed(f"{job_id} is retried before its failure is committed")
        self._check_window(job_id)
        fact.started = True

    def _check_parent(self, job_id: str, parent: str) -> None:
        fact = self.facts[parent]
        if fact.state is not State.COMPLETE:
            raise NotAllowed(f"{job_id} starts before {parent} is complete")
        job = self.chain.jobs[job_id]
        if job.structural and job_id != job.sequence_id:
            # An end does nothing, and its entry follows its parents' in the journal.
            return
        if job.fail_if_interrupted and fact.position > self.committed:
            raise NotAllowed(f"{job_id} starts before the entry of {parent} is committed")
        if not self._counts(parent):
            raise NotAllowed(f"{job_id} starts before the completion of {parent} is committed")

    def _counts(self, job_id: str) -> bool:
        """Return whether a completion is committed; for a structural job, those of its parents."""
        if self.facts[job_id].position <= self.committed:
            return True
        structural = self.chain.jobs[job_id].structural
        return structural and all(map(self._counts, parents(self.chain, job_id)))

    def _check_sequence_may_start(self, job: ChainJob) -> None:
        if self._failed_sequences() & set(around(self.chain, job)):
            raise NotAllowed(f"{job.id} starts within a failed sequence")
        if job.id != job.sequence_id or self.facts[job.id].fails:
            return
        tries = self.sequence_tries.get(job.id, 0)
        if tries:
            if job.id not in self.rolled_back:
                raise NotAllowed(f"sequence {job.id} restarts though it has not failed")
            if self.rolled_back.pop(job.id) > self.committed:
                raise NotAllowed(f"sequence {job.id} is retried before its failure is committed")
        if tries > job.sequence_retry:
            raise NotAllowed(f"sequence {job.id} has no tries left")
        self.sequence_tries[job.id] = tries + 1

    def _check_window(self, job_id: str) -> None:
        for window in self.chain.parallel_limits:
            firsts = [first for first, _ in window.elements]
            if job_id not in firsts or self.facts[job_id].started:
                continue
            place = firsts.index(job_id)
            if not all(self._has_started(first) for first in firsts[:place]):
                raise NotAllowed(f"{job_id} starts before an earlier element")
            if self._in_flight(window.elements) >= window.limit:
                raise NotAllowed(f"{job_id} starts though {window.limit} elements are in flight")

    def _has_started(self, first: str) -> bool:
        """Return whether a job has started or may hold a slot while it waits for a commit."""
        return self.facts[first].started or self.chain.jobs[first].fail_if_interrupted

    def _in_flight(self, elements: tuple[tuple[str, str], ...]) -> int:
        return sum(
            self.facts[first].started and self.facts[last].state is not State.COMPLETE
            for first, last in elements
        )

    def _append_entry(self, entry: JournalEntry) -> None:
        job = self.chain.jobs[entry.job_id]
        if entry.position != len(self.entries) + 1:
            raise NotAllowed(f"position {entry.position} after {len(self.entries)}")
        if job.structural and entry.state is State.COMPLETE:
            self._start(job.id, entry.try_)
            del self.running[job.id]
        elif entry.started_at == 0 and entry.try_ > self.numbers.get(job.id, 0):
            if job.id not in self.overdue:
                raise NotAllowed(f"{job.id} fails without being started")
            self.numbers[job.id] = entry.try_
        self.ended.discard(job.id)
        if entry.try_ != self.numbers[job.id]:
            raise NotAllowed(f"{job.id}: entry of try {entry.try_}, began {self.numbers[job.id]}")
        if job.id in self.running:
            raise NotAllowed(f"{job.id} has an entry while it runs")
        if entry.sequence_try != self.sequence_tries.get(job.sequence_id, 0):
            raise NotAllowed(f"{job.id}: sequence try {entry.sequence_try}")
        self.entries.append(entry)
        self._apply_entry(entry)
        if entry.state is State.COMPLETE:
            self.ever.add(job.id)

    def _apply_entry(self, entry: JournalEntry) -> None:
        job, sequence = self.chain.jobs[entry.job_id], entry.sequence_id
        if job.id == sequence and entry.sequence_try != self.sequence_tries.get(sequence, 0):
            self._void(sequence)
            self.sequence_tries[sequence] = entry.sequence_try
        fact = self.facts[job.id]
        fact.position = entry.position
        fact.state = entry.state
        fact.started = True
        self.numbers[job.id] = max(self.numbers.get(job.id, 0), entry.try_)
        if entry.state is State.FAIL:
            fact.fails += 1
            if not entry.final:
                if fact.fails > job.retry:
                    raise NotAllowed(f"{job.id} has no tries left, and its entry is not final")
                fact.state = State.PENDING
        elif entry.state is State.STOPPED:
            self._uncount_sequence_try(job.id)

    def _published(self, finished: int, rolled_back: int) -> None:
        if finished < self.published_finished:
            raise NotAllowed(f"finished jobs go down from {self.published_finished} to {finished}")
        self.published_finished = finished
        if rolled_back < 0:
            raise NotAllowed(f"{rolled_back} jobs are rolled back")

    def _finish(self, report: FinishReport) -> None:
        self._must_be_idle()
        states = {fact.state for fact in self.facts.values()}
        failed = State.FAIL in states or (self.mode == "overdue" and states != {State.COMPLETE})
        expected = State.COMPLETE
        if states != {State.COMPLETE}:
            expected = State.FAIL if failed or self.mode != "stopping" else State.STOPPED
        if report.state is not expected:
            raise NotAllowed(f"ends {report.state.name}, should {expected.name}")
        if self.mode in ("running", "suspending") and expected is State.FAIL:
            runnable = self._runnable_jobs()
            if runnable:
                raise NotAllowed(f"ends FAIL though {runnable} can run")
        complete = [job for job, fact in self.facts.items() if fact.state is State.COMPLETE]
        if report.complete_jobs != len(complete) or report.finished_jobs != len(self.ever):
            raise NotAllowed(f"counts {report} with {complete} complete, {self.ever} ever")
        self.report = report

    def _suspend(self, saved: SuspendedJobChain) -> None:
        self._must_be_idle()
        if self.mode != "suspending":
            raise NotAllowed(f"is suspended while {self.mode}")
        if not self._runnable_jobs():
            raise NotAllowed("is suspended though nothing can run")
        self._roll_back()
        for job_id, fact in self.facts.items():
            state = saved.job_chain.jobs[job_id].state
            if state is not fact.state:
                raise NotAllowed(f"{job_id} is saved {state.name}, is {fact.state.name}")
            if saved.total_job_tries.get(job_id, 0) != self.numbers.get(job_id, 0):
                raise NotAllowed(f"{job_id}: tries {saved.total_job_tries}, were {self.numbers}")
        complete = sum(fact.state is State.COMPLETE for fact in self.facts.values())
        if saved.job_chain.finished_jobs != complete:
            raise NotAllowed(f"finished jobs {saved.job_chain.finished_jobs}, are {complete}")
        if saved.journal_position != (self.entries[-1].position if self.entries else 0):
            raise NotAllowed(f"journal position {saved.journal_position}")
        self.saved = saved

    def _must_be_idle(self) -> None:
        if self.running:
            raise NotAllowed(f"ends while {sorted(self.running)} run")
        if self.entries and self.entries[-1].position > self.committed:
            raise NotAllowed("ends before all entries are committed")

    def _runnable_jobs(self) -> list[str]:
        return sorted(self._failed_sequences()) + [
            job_id
            for job_id, fact in self.facts.items()
            if fact.state in (State.PENDING, State.STOPPED)
            and not self._is_cut_off(job_id)
            and all(
                self.facts[parent].state is State.COMPLETE for parent in parents(self.chain, job_id)
            )
            and self._has_room(job_id)
        ]

    def _is_cut_off(self, job_id: str) -> bool:
        """Return whether a sequence around it has failed as a whole: its first job has failed."""
        sequences = around(self.chain, self.chain.jobs[job_id])
        return any(self.facts[sequence].state is State.FAIL for sequence in sequences)

    def _has_room(self, job_id: str) -> bool:
        if self.facts[job_id].started:
            return True
        return all(
            self._in_flight(window.elements) < window.limit
            for window in self.chain.parallel_limits
            if job_id in [first for first, _ in window.elements]
        )

    def _failed_sequences(self) -> set[str]:
        """Return the failed sequences that will be retried, by the rule of escalation."""
        failed = set()
        for job_id, fact in self.facts.items():
            if fact.state is not State.FAIL:
                continue
            sequences = around(self.chain, self.chain.jobs[job_id])
            cut_off = [
                sequence for sequence in sequences if self.facts[sequence].state is State.FAIL
            ]
            if cut_off:
                sequences = sequences[sequences.index(cut_off[-1]) :]
            for sequence in sequences:
                if self.sequence_tries.get(sequence, 0) <= self.chain.jobs[sequence].sequence_retry:
                    failed.add(sequence)
                    break
        return {
            sequence
            for sequence in failed
            if not failed & set(around(self.chain, self.chain.jobs[sequence])[1:])
        }

    def _void(self, sequence: str) -> None:
        members = inside(self.chain, sequence)
        for job_id in members:
            started = job_id == sequence and self.facts[job_id].started
            self.facts[job_id] = Fact(started=started)
            if job_id != sequence:
                self.sequence_tries.pop(job_id, None)
            self.rolled_back.pop(job_id, None)
        self.overdue -= set(members)

    def key(self) -> object:
        """Return exactly the state on which the future depends."""
        return (
            tuple(
                (fact.state, fact.fails, fact.started, fact.position > self.committed)
                for fact in self.facts.values()
            ),
            tuple(sorted(self.sequence_tries.items())),
            tuple(sorted(self.running)),
            tuple(sorted(self.stopping)),
            tuple(sorted(self.ever)),
            tuple(sorted(self.overdue)),
            tuple(sorted((s, p > self.committed) for s, p in self.rolled_back.items())),
            self.mode,
            tuple(
                (entry.job_id, entry.state, entry.final, entry.sequence_try)
                for entry in self.entries
                if entry.position > self.committed
            ),
            self.report is not None,
            self.saved is not None,
        )


def _is_unstarted_failure(command: Command) -> bool:
    return isinstance(command, Append) and not command.entry.started_at
