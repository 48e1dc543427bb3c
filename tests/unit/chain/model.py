"""What a history of a chain may look like, said plainly and apart from the code that makes it.

The model is told every command and every event. It keeps the journal and a few facts a job,
and knows nothing of counters, queues and roll-backs: a sequence that begins again makes what
its jobs did before void, and everything else follows from reading the journal.
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
    told: set[str] = field(default_factory=set)
    waits: set[int] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)
    keys: Keys = field(default_factory=Keys)
    given: set[str] = field(default_factory=set)
    facts: dict[str, Fact] = field(default_factory=dict)
    begins: dict[str, int] = field(default_factory=dict)
    overdue: set[str] = field(default_factory=set)
    rolled_back: dict[str, int] = field(default_factory=dict)
    ever: set[str] = field(default_factory=set)
    mode: str = "running"
    saved: SuspendedJobChain | None = None
    report: FinishReport | None = None
    told_finished: int = 0

    def __post_init__(self) -> None:
        self.facts = {job_id: Fact() for job_id in self.chain.jobs}

    def happens(self, event: str) -> None:
        """A stop, a suspend or a time limit of the request."""
        if event == "stop" and self.mode in ("running", "suspending"):
            self.mode = "stopping"
        elif event in ("suspend", "overdue") and self.mode == "running":
            self.mode = {"suspend": "suspending", "overdue": "overdue"}[event]

    def ends(self, job_id: str, end: TryEnd) -> None:
        """A try ends; its entry has to follow, unless it had not begun."""
        number = self.running.pop(job_id)
        self.told.discard(job_id)
        if end.started:
            self.ended.add(job_id)
            return
        self.numbers[job_id] = number - 1
        self.given.discard(job_id)
        self._give_back_begin(job_id)

    def _give_back_begin(self, job_id: str) -> None:
        """The first try of a sequence's first job did not count: the sequence begins anew."""
        if job_id == self.chain.jobs[job_id].sequence_id and not self.facts[job_id].fails:
            self.begins[job_id] -= 1
            if self.begins[job_id]:
                self.rolled_back[job_id] = 0

    def resumes(self) -> None:
        """Another runner goes on from the saved state."""
        self.mode, self.saved, self.report = "running", None, None
        self._new_run()

    def crashes(self) -> None:
        """The runner is gone, and with it all that was not committed."""
        for entry in self.entries[::-1]:
            if entry.position > self.committed and not entry.started_at:
                self.numbers[entry.job_id] = entry.try_ - 1
        self.entries = [entry for entry in self.entries if entry.position <= self.committed]
        self.running.clear()
        self.ended.clear()
        self.told.clear()
        self.overdue.clear()
        self.begins.clear()
        self.rolled_back.clear()
        self.facts = {job_id: Fact() for job_id in self.chain.jobs}
        for entry in self.entries:
            self._learn(entry)
        self.mode = "running"
        self._new_run()

    def _new_run(self) -> None:
        self.waits.clear()
        self.overdue.clear()
        self._roll_back()
        self.ever = {job for job, fact in self.facts.items() if fact.state is State.COMPLETE}
        self.told_finished = 0
        for job_id, fact in self.facts.items():
            job = self.chain.jobs[job_id]
            opened = job.sequence_id == job_id and self.begins.get(job_id, 0) > 0
            fact.begun = opened or fact.fails > 0 or fact.state is not State.PENDING
            if fact.state is State.STOPPED:
                fact.state = State.PENDING

    def sees(self, commands: list[Command]) -> None:
        for index, command in enumerate(commands):
            if self.saved is not None or self.report is not None:
                raise NotAllowed(f"{command} after the end")
            if not any(map(_is_unstarted_failure, commands[index:])):
                self._roll_back()
            match command:
                case StartTry(job_id, number):
                    self._start(job_id, number)
                    self.keys.begins(job_id, number, command.key, self.entries)
                case Append(entry):
                    self._append_entry(entry)
                case StopTry(job_id) | WithdrawTry(job_id):
                    if job_id not in self.running:
                        raise NotAllowed(f"{job_id} is told to stop but does not run")
                    self.told.add(job_id)
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
        """A failed sequence is undone as soon as no job of it runs any more."""
        if self.mode not in ("running", "suspending"):
            return
        for sequence in self._failed_sequences():
            if not set(inside(self.chain, sequence)) & (self.ended | set(self.running)):
                self._void(sequence)
                self.rolled_back[sequence] = self.entries[-1].position if self.entries else 0

    def _start(self, job_id: str, number: int) -> None:
        self._may_begin(job_id)
        if number <= self.numbers.get(job_id, 0):
            raise NotAllowed(f"{job_id}: try {number} was used before")
        self.numbers[job_id] = number
        self.running[job_id] = number
        self.given.add(job_id)

    def _may_begin(self, job_id: str) -> None:
        job = self.chain.jobs[job_id]
        if self.mode != "running":
            raise NotAllowed(f"{job_id} begins while the chain is {self.mode}")
        if job_id in self.running:
            raise NotAllowed(f"{job_id} begins while it runs")
        if self._is_cut_off(job_id):
            raise NotAllowed(f"{job_id} begins in a sequence that is over")
        self._may_begin_sequence(job)
        fact = self.facts[job_id]
        if fact.state not in (State.PENDING, State.STOPPED):
            raise NotAllowed(f"{job_id} begins but is {fact.state.name}")
        if fact.fails > job.retry:
            raise NotAllowed(f"{job_id} has no tries left")
        for parent in parents(self.chain, job_id):
            self._must_be_done(job_id, parent)
        if not job.structural and fact.fails and fact.position > self.committed:
            raise NotAllowed(f"{job_id} is tried again before its failure is committed")
        self._may_enter_window(job_id)
        fact.begun = True

    def _must_be_done(self, job_id: str, parent: str) -> None:
        fact = self.facts[parent]
        if fact.state is not State.COMPLETE:
            raise NotAllowed(f"{job_id} begins before {parent} is complete")
        job = self.chain.jobs[job_id]
        if job.structural and job_id != job.sequence_id:
            # An end does nothing, and its entry stands behind its parents' in the journal.
            return
        if job.fail_if_interrupted and fact.position > self.committed:
            raise NotAllowed(f"{job_id} begins before the entry of {parent} is committed")
        if not self._counts(parent):
            raise NotAllowed(f"{job_id} begins before the completion of {parent} is committed")

    def _counts(self, job_id: str) -> bool:
        """Whether a completion is committed; of a structural job, that of all before it."""
        if self.facts[job_id].position <= self.committed:
            return True
        structural = self.chain.jobs[job_id].structural
        return structural and all(map(self._counts, parents(self.chain, job_id)))

    def _may_begin_sequence(self, job: ChainJob) -> None:
        if self._failed_sequences() & set(around(self.chain, job)):
            raise NotAllowed(f"{job.id} begins within a failed sequence")
        if job.id != job.sequence_id or self.facts[job.id].fails:
            return
        tries = self.begins.get(job.id, 0)
        if tries:
            if job.id not in self.rolled_back:
                raise NotAllowed(f"sequence {job.id} begins again though it has not failed")
            if self.rolled_back.pop(job.id) > self.committed:
                raise NotAllowed(f"sequence {job.id} is retried before its failure is committed")
        if tries > job.sequence_retry:
            raise NotAllowed(f"sequence {job.id} has no tries left")
        self.begins[job.id] = tries + 1

    def _may_enter_window(self, job_id: str) -> None:
        for window in self.chain.parallel_limits:
            firsts = [first for first, _ in window.elements]
            if job_id not in firsts or self.facts[job_id].begun:
                continue
            place = firsts.index(job_id)
            if not all(self._has_begun(first) for first in firsts[:place]):
                raise NotAllowed(f"{job_id} begins before an earlier element")
            if self._in_flight(window.elements) >= window.limit:
                raise NotAllowed(f"{job_id} begins though {window.limit} elements are in flight")

    def _has_begun(self, first: str) -> bool:
        """A job that must wait for a commit has its place before it begins."""
        return self.facts[first].begun or self.chain.jobs[first].fail_if_interrupted

    def _in_flight(self, elements: tuple[tuple[str, str], ...]) -> int:
        return sum(
            self.facts[first].begun and self.facts[last].state is not State.COMPLETE
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
        if entry.sequence_try != self.begins.get(job.sequence_id, 0):
            raise NotAllowed(f"{job.id}: sequence try {entry.sequence_try}")
        self.entries.append(entry)
        self._learn(entry)
        if entry.state is State.COMPLETE:
            self.ever.add(job.id)

    def _learn(self, entry: JournalEntry) -> None:
        job, sequence = self.chain.jobs[entry.job_id], entry.sequence_id
        if job.id == sequence and entry.sequence_try != self.begins.get(sequence, 0):
            self._void(sequence)
            self.begins[sequence] = entry.sequence_try
        fact = self.facts[job.id]
        fact.position = entry.position
        fact.state = entry.state
        fact.begun = True
        self.numbers[job.id] = max(self.numbers.get(job.id, 0), entry.try_)
        if entry.state is State.FAIL:
            fact.fails += 1
            if not entry.final:
                if fact.fails > job.retry:
                    raise NotAllowed(f"{job.id} has no tries left, and its entry is not final")
                fact.state = State.PENDING
        elif entry.state is State.STOPPED:
            self._give_back_begin(job.id)

    def _published(self, finished: int, rolled_back: int) -> None:
        if finished < self.told_finished:
            raise NotAllowed(f"finished jobs go down from {self.told_finished} to {finished}")
        self.told_finished = finished
        if rolled_back < 0:
            raise NotAllowed(f"{rolled_back} jobs are rolled back")

    def _finish(self, report: FinishReport) -> None:
        self._nothing_is_under_way()
        states = {fact.state for fact in self.facts.values()}
        failed = State.FAIL in states or (self.mode == "overdue" and states != {State.COMPLETE})
        expected = State.COMPLETE
        if states != {State.COMPLETE}:
            expected = State.FAIL if failed or self.mode != "stopping" else State.STOPPED
        if report.state is not expected:
            raise NotAllowed(f"ends {report.state.name}, should {expected.name}")
        if self.mode in ("running", "suspending") and expected is State.FAIL:
            going_on = self._could_go_on()
            if going_on:
                raise NotAllowed(f"ends FAIL though {going_on} could go on")
        complete = [job for job, fact in self.facts.items() if fact.state is State.COMPLETE]
        if report.complete_jobs != len(complete) or report.finished_jobs != len(self.ever):
            raise NotAllowed(f"counts {report} with {complete} complete, {self.ever} ever")
        self.report = report

    def _suspend(self, saved: SuspendedJobChain) -> None:
        self._nothing_is_under_way()
        if self.mode != "suspending":
            raise NotAllowed(f"is suspended while {self.mode}")
        if not self._could_go_on():
            raise NotAllowed("is suspended though nothing could go on")
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

    def _nothing_is_under_way(self) -> None:
        if self.running:
            raise NotAllowed(f"ends while {sorted(self.running)} run")
        if self.entries and self.entries[-1].position > self.committed:
            raise NotAllowed("ends before all entries are committed")

    def _could_go_on(self) -> list[str]:
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
        """Whether a sequence around it has failed as a whole: its first job stands as failed."""
        sequences = around(self.chain, self.chain.jobs[job_id])
        return any(self.facts[sequence].state is State.FAIL for sequence in sequences)

    def _has_room(self, job_id: str) -> bool:
        if self.facts[job_id].begun:
            return True
        return all(
            self._in_flight(window.elements) < window.limit
            for window in self.chain.parallel_limits
            if job_id in [first for first, _ in window.elements]
        )

    def _failed_sequences(self) -> set[str]:
        """Sequences that have failed and will be retried, by the rule of escalation."""
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
                if self.begins.get(sequence, 0) <= self.chain.jobs[sequence].sequence_retry:
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
            begun = job_id == sequence and self.facts[job_id].begun
            self.facts[job_id] = Fact(begun=begun)
            if job_id != sequence:
                self.begins.pop(job_id, None)
            self.rolled_back.pop(job_id, None)
        self.overdue -= set(members)

    def key(self) -> object:
        """What the future depends on, and nothing else."""
        return (
            tuple(
                (fact.state, fact.fails, fact.begun, fact.position > self.committed)
                for fact in self.facts.values()
            ),
            tuple(sorted(self.begins.items())),
            tuple(sorted(self.running)),
            tuple(sorted(self.told)),
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
