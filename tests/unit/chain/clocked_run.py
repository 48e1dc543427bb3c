"""A chain that runners pass on to each other, on a clock that the test sets."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field

from spincycle.chain.chain_graph import JobNode, SequenceNode
from spincycle.chain.chain_state import ChainState
from spincycle.chain.commands import (
    Append,
    Command,
    Continue,
    Finish,
    FinishReport,
    StartTry,
    StopTry,
    Suspend,
    TryEnd,
    Wait,
)
from spincycle.chain.rebuild import rebuild
from spincycle.model.job_chain import JobChain, SuspendedJobChain, SuspendedPeriod
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State

SECOND = 1_000_000_000

REQUEST = "request"


@dataclass
class ClockedRun:
    """Executes a chain whose entries are committed at once and whose jobs stop at once.

    Attributes:
        started_at: start of the request as the request manager has it.
        periods: for which a caller had suspended the request.
        tries: jobs whose try was started, in order.
    """

    chain: JobChain
    now: int = 1_000 * SECOND
    started_at: int = 0
    entries: list[JournalEntry] = field(default_factory=list)
    periods: list[SuspendedPeriod] = field(default_factory=list)
    tries: list[str] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)
    report: FinishReport | None = None
    saved: SuspendedJobChain | None = None
    epoch: int = 1
    _waits: dict[int, tuple[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.started_at = self.now
        self.state = ChainState.new(copy.deepcopy(self.chain), self.epoch, float)
        self._execute(self.state.start(self.now))

    def advance(self, seconds: float) -> None:
        """Let time pass on the runner, and let the timers expire that are due."""
        end = self.now + int(seconds * SECOND)
        while (due := self._next_timer()) is not None and due[0] <= end:
            self.now, token = due
            self._execute(self.state.elapsed(token, self.now))
        self.now = end

    def end(self, job_id: str, state: State = State.COMPLETE) -> None:
        """End the running try of a job."""
        end = TryEnd(state, started_at=self.running.pop(job_id), finished_at=self.now)
        self._execute(self.state.ended(job_id, end, self.now))

    def suspend(self, seconds: float) -> None:
        """Suspend the request as a caller does; resume it after some seconds."""
        suspended_at = self._save()
        if suspended_at is not None:
            self.now += int(seconds * SECOND)
            self.periods.append(SuspendedPeriod(suspended_at, self.now))
            self._resume(self.saved)

    def hand_over(self, seconds: float) -> None:
        """Suspend the chain as a runner does that ends; another one takes it after some seconds."""
        if self._save() is not None:
            self.now += int(seconds * SECOND)
            self._resume(self.saved)

    def die(self, seconds: float) -> None:
        """Lose the runner; another one has the rebuilt chain after some seconds."""
        self.now += int(seconds * SECOND)
        made = copy.deepcopy(self.chain)
        self._resume(rebuild(made, self.entries, self.epoch, self.started_at))

    def restart(self, suspended: SuspendedJobChain) -> None:
        """Continue from another saved state."""
        self._resume(suspended)

    def left(self) -> dict[str, float]:
        """Return the seconds that the request and each sequence with a running clock have left."""
        left: dict[str, float] = {}
        for token, timed in self.state._scheduler._timers.items():
            if isinstance(timed, JobNode):
                continue
            started, seconds = self._waits[token]
            name = timed.first.job.id if isinstance(timed, SequenceNode) else REQUEST
            assert name not in left
            left[name] = round(seconds - (self.now - started) / SECOND, 6)
        return left

    def errors(self, job_id: str) -> list[str]:
        """Return the errors of a job's failures."""
        failures = (entry for entry in self.entries if entry.state is State.FAIL)
        return [entry.error for entry in failures if entry.job_id == job_id]

    def _save(self) -> int | None:
        """Suspend the chain; return when it was saved, or None if it has ended."""
        self.saved = None
        self._execute(self.state.suspend(self.now))
        return None if self.saved is None else self.now

    def _resume(self, suspended: SuspendedJobChain | None) -> None:
        assert suspended is not None
        sent = copy.deepcopy(suspended)
        sent.suspended_periods = list(self.periods)
        self.epoch += 1
        self.running.clear()
        self._waits.clear()
        self.state = ChainState.resumed(sent, self.epoch, float)
        self._execute(self.state.start(self.now))

    def _next_timer(self) -> tuple[int, int] | None:
        due = [
            (started + int(seconds * SECOND), token)
            for token, (started, seconds) in self._waits.items()
            if token in self.state._scheduler._timers
        ]
        return min(due, default=None)

    def _execute(self, commands: list[Command]) -> None:
        left = deque(commands)
        while left:
            match left.popleft():
                case Append(entry):
                    self.entries.append(entry)
                    left.extend(self.state.committed(entry.position, self.now))
                case StartTry(job_id):
                    self.tries.append(job_id)
                    self.running[job_id] = self.now
                    left.extend(self.state.started(job_id, self.now))
                case StopTry(job_id):
                    end = TryEnd(State.STOPPED, started_at=self.running.pop(job_id))
                    left.extend(self.state.ended(job_id, end, self.now))
                case Wait(token, seconds):
                    self._waits[token] = (self.now, seconds)
                case Continue():
                    left.extend(self.state.proceed(self.now))
                case Finish(report):
                    self.report = report
                case Suspend() as suspend:
                    self.saved = suspend.suspended
