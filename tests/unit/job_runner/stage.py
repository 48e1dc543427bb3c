"""A runner whose dependencies the test controls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from spincycle.chain.commands import FinishReport
from spincycle.errors import SpinCycleError
from spincycle.identity.append_grants import AppendGrant
from spincycle.job import Job, JobId, JobTypes, Return, State
from spincycle.job_runner.fair_slots import FairSlots
from spincycle.job_runner.ports import (
    ChainDependencies,
    ChainReleased,
    ChainStarted,
    CommitListener,
)
from spincycle.job_runner.runner import JobRunner
from spincycle.job_runner.threads import Threads
from spincycle.job_runner.try_environment import StopPolicy, TryEnvironment
from spincycle.model.job_chain import JobChain, SuspendedJobChain, Value
from spincycle.model.job_status import JobEvent
from spincycle.model.journal_entry import JournalEntry

Play = Callable[["Scripted", dict[str, Value]], Awaitable[Return]]


def returns(state: State, **more: object) -> Play:
    async def play(job: Scripted, data: dict[str, Value]) -> Return:
        return Return(state, **more)  # type: ignore[arg-type] # a test may return nonsense

    return play


def fails(error: str = "no") -> Play:
    return returns(State.FAIL, error=error, exit=1)


def leaves(**values: Value) -> Play:
    async def play(job: Scripted, data: dict[str, Value]) -> Return:
        data.update(values)
        return Return(State.COMPLETE)

    return play


async def works_until_stopped(job: Scripted, data: dict[str, Value]) -> Return:
    await job.stop_requested.wait()
    return Return(State.STOPPED)


async def ignores_stop(job: Scripted, data: dict[str, Value]) -> Return:
    await asyncio.Event().wait()
    return Return(State.COMPLETE)


class Scripted(Job):
    """Runs the stage's plays for its id, one per try; returns COMPLETE if there is none."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.stop_requested = asyncio.Event()
        self.stops = 0

    async def run(self, data: dict[str, Value]) -> Return:
        name = self.id.id
        self.stage.runs.append(name)
        self.stage.given.setdefault(name, []).append(dict(data))
        self.stage.has_started(name).set()
        plays = self.stage.plays.get(name, [])
        if not plays:
            return Return(State.COMPLETE)
        play = plays.pop(0) if len(plays) > 1 else plays[0]
        return await play(self, data)

    async def stop(self) -> None:
        self.stops += 1
        self.stage.stopped.append(self.id.id)
        self.stop_requested.set()


class FakeJournal:
    """Commits immediately, or on `reconnect` while disconnected."""

    full = False

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.grants: dict[tuple[str, int], AppendGrant | None] = {}
        self.disconnected = False
        self.error: dict[str, SpinCycleError] = {}
        self._pending: list[tuple[CommitListener, int]] = []

    def append(self, entry: JournalEntry, listener: CommitListener) -> None:
        self.entries.append(entry)
        self.grants[entry.request_id, entry.epoch] = listener.append_grant
        loop = asyncio.get_running_loop()
        if entry.request_id in self.error:
            loop.call_soon(listener.refused, self.error[entry.request_id])
        elif self.disconnected:
            self._pending.append((listener, entry.position))
        else:
            loop.call_soon(listener.committed, entry.position)

    def reconnect(self) -> None:
        self.disconnected = False
        pending, self._pending = self._pending, []
        for listener, position in pending:
            listener.committed(position)

    def log(self, job_id: str = "") -> list[tuple[str, int, State]]:
        return [
            (entry.job_id, entry.try_, entry.state)
            for entry in self.entries
            if not job_id or entry.job_id == job_id
        ]

    def errors(self, job_id: str) -> list[str]:
        return [entry.error for entry in self.entries if entry.job_id == job_id]


class RecordingReporter:
    """Records the reports to the request manager."""

    def __init__(self) -> None:
        self.ends: dict[str, list[FinishReport]] = {}
        self.running_times: dict[str, int] = {}
        self.saved: dict[str, list[SuspendedJobChain]] = {}
        self.counts: list[tuple[int, int]] = []
        self._changed = asyncio.Event()

    def finished(self, report: FinishReport, running_time: int) -> None:
        self.running_times[report.request_id] = running_time
        self.ends.setdefault(report.request_id, []).append(report)
        self._changed.set()

    def suspended(self, suspended: SuspendedJobChain) -> Callable[[], None]:
        return partial(self._suspended, suspended)

    def _suspended(self, suspended: SuspendedJobChain) -> None:
        self.saved.setdefault(suspended.request_id, []).append(suspended)
        self._changed.set()

    def progress(self, request_id: str, epoch: int, finished: int, rolled_back: int) -> None:
        self.counts.append((finished, rolled_back))

    async def end(self, request_id: str = "request") -> FinishReport:
        await self._until(lambda: request_id in self.ends)
        return self.ends[request_id][-1]

    async def save(self, request_id: str = "request") -> SuspendedJobChain:
        await self._until(lambda: request_id in self.saved)
        return self.saved[request_id][-1]

    async def _until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            self._changed.clear()
            await self._changed.wait()


class RecordingSink:
    enabled = True

    def __init__(self) -> None:
        self.starts: list[ChainStarted] = []
        self.releases: list[ChainReleased] = []
        self.events: list[JobEvent] = []
        self.broken_for = ""

    def publish(self, event: JobEvent) -> None:
        if event.job.request_id == self.broken_for:
            raise RuntimeError("this cannot happen")
        self.events.append(event)

    def chain_started(self, chain: ChainStarted) -> None:
        self.starts.append(chain)

    def chain_released(self, chain: ChainReleased) -> None:
        self.releases.append(chain)

    def states(self, job_id: str) -> list[State]:
        return [event.job.state for event in self.events if event.job.job_id == job_id]


@dataclass(slots=True)
class Stage:
    """A runner and the behaviour of its jobs by job id."""

    plays: dict[str, list[Play]] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    given: dict[str, list[dict[str, Value]]] = field(default_factory=dict)
    journal: FakeJournal = field(default_factory=FakeJournal)
    reports: RecordingReporter = field(default_factory=RecordingReporter)
    watcher: RecordingSink = field(default_factory=RecordingSink)
    jobs: JobTypes = field(default_factory=JobTypes)
    threads: int | None = None
    job_slots: int | None = None
    max_chains: int | None = None
    policy: StopPolicy = field(default_factory=lambda: StopPolicy(60, 60))
    is_blocked_by: Callable[[Job], bool] = lambda _: False
    environment: TryEnvironment = field(init=False)
    runner: JobRunner = field(init=False)
    _started: dict[str, asyncio.Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.jobs.add("test", self._make)
        self.open()

    def open(self) -> None:
        """Create a new runner, for example after a change of the settings."""
        ticks = iter(range(1_000, 10**9))
        self.environment = TryEnvironment(
            Threads(self.threads), self.policy, is_blocked_by=self.is_blocked_by
        )
        dependencies = ChainDependencies(
            journal=self.journal,
            reporter=self.reports,
            events=self.watcher,
            jobs=self.jobs,
            job_slots=FairSlots(self.job_slots),
            environment=self.environment,
            draw=float,
            new_clock=lambda: lambda: next(ticks),
        )
        self.runner = JobRunner(dependencies, self.max_chains)

    def has_started(self, job_id: str) -> asyncio.Event:
        return self._started.setdefault(job_id, asyncio.Event())

    async def until_started(self, *job_ids: str) -> None:
        for job_id in job_ids:
            await self.has_started(job_id).wait()

    async def run(self, chain: JobChain) -> FinishReport:
        """Run a chain and return the report of its end."""
        self.runner.run(chain, 1)
        return await self.reports.end(chain.request_id)

    def _make(self, job_id: JobId) -> Job:
        job = Scripted(self)
        job.id = job_id
        return job


async def turns(count: int = 20) -> None:
    """Let the event loop run everything that needs no time."""
    for _ in range(count):
        await asyncio.sleep(0)
