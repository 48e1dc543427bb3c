"""A runner with everything around it under the test's control."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from spincycle.chain.commands import FinishReport
from spincycle.errors import SpinCycleError
from spincycle.job import Job, JobId, JobTypes, Return, State
from spincycle.job_runner.fair_slots import FairSlots
from spincycle.job_runner.ports import ChainBegun, ChainDependencies, ChainLeft, CommitListener
from spincycle.job_runner.runner import JobRunner
from spincycle.job_runner.threads import Threads
from spincycle.job_runner.try_execution import StopPolicy, TryEnvironment
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
    await job.told_to_stop.wait()
    return Return(State.STOPPED)


async def ignores_stop(job: Scripted, data: dict[str, Value]) -> Return:
    await asyncio.Event().wait()
    return Return(State.COMPLETE)


class Scripted(Job):
    """Does what the stage has for its id, one play a try; is COMPLETE when there is none."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.told_to_stop = asyncio.Event()
        self.stops = 0

    async def run(self, data: dict[str, Value]) -> Return:
        name = self.id.id
        self.stage.runs.append(name)
        self.stage.given.setdefault(name, []).append(dict(data))
        self.stage.has_begun(name).set()
        plays = self.stage.plays.get(name, [])
        if not plays:
            return Return(State.COMPLETE)
        play = plays.pop(0) if len(plays) > 1 else plays[0]
        return await play(self, data)

    async def stop(self) -> None:
        self.stops += 1
        self.stage.stopped.append(self.id.id)
        self.told_to_stop.set()


class HeldJournal:
    """Commits at once, or when it is told to."""

    full = False

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.away = False
        self.error: dict[str, SpinCycleError] = {}
        self._pending: list[tuple[CommitListener, int]] = []

    def append(self, entry: JournalEntry, author: CommitListener) -> None:
        self.entries.append(entry)
        loop = asyncio.get_running_loop()
        if entry.request_id in self.error:
            loop.call_soon(author.refused, self.error[entry.request_id])
        elif self.away:
            self._pending.append((author, entry.position))
        else:
            loop.call_soon(author.committed, entry.position)

    def come_back(self) -> None:
        self.away = False
        pending, self._pending = self._pending, []
        for author, position in pending:
            author.committed(position)

    def log(self, job_id: str = "") -> list[tuple[str, int, State]]:
        return [
            (entry.job_id, entry.try_, entry.state)
            for entry in self.entries
            if not job_id or entry.job_id == job_id
        ]

    def errors(self, job_id: str) -> list[str]:
        return [entry.error for entry in self.entries if entry.job_id == job_id]


class Reports:
    """What the request manager would be told."""

    def __init__(self) -> None:
        self.ends: dict[str, list[FinishReport]] = {}
        self.running_times: dict[str, int] = {}
        self.saved: dict[str, list[SuspendedJobChain]] = {}
        self.counts: list[tuple[int, int]] = []
        self._news = asyncio.Event()

    def finished(self, report: FinishReport, running_time: int) -> None:
        self.running_times[report.request_id] = running_time
        self.ends.setdefault(report.request_id, []).append(report)
        self._news.set()

    def suspended(self, suspended: SuspendedJobChain) -> Callable[[], None]:
        return partial(self._suspended, suspended)

    def _suspended(self, suspended: SuspendedJobChain) -> None:
        self.saved.setdefault(suspended.request_id, []).append(suspended)
        self._news.set()

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
            self._news.clear()
            await self._news.wait()


class Watcher:
    wanted = True

    def __init__(self) -> None:
        self.begins: list[ChainBegun] = []
        self.leaves: list[ChainLeft] = []
        self.events: list[JobEvent] = []
        self.broken_for = ""

    def publish(self, event: JobEvent) -> None:
        if event.job.request_id == self.broken_for:
            raise RuntimeError("this cannot happen")
        self.events.append(event)

    def begun(self, chain: ChainBegun) -> None:
        self.begins.append(chain)

    def left(self, chain: ChainLeft) -> None:
        self.leaves.append(chain)

    def states(self, job_id: str) -> list[State]:
        return [event.job.state for event in self.events if event.job.job_id == job_id]


@dataclass(slots=True)
class Stage:
    """A runner, and what its jobs do, by job id."""

    plays: dict[str, list[Play]] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    given: dict[str, list[dict[str, Value]]] = field(default_factory=dict)
    journal: HeldJournal = field(default_factory=HeldJournal)
    reports: Reports = field(default_factory=Reports)
    watcher: Watcher = field(default_factory=Watcher)
    jobs: JobTypes = field(default_factory=JobTypes)
    threads: int | None = None
    places: int | None = None
    max_chains: int | None = None
    policy: StopPolicy = field(default_factory=lambda: StopPolicy(60, 60))
    workshop: TryEnvironment = field(init=False)
    runner: JobRunner = field(init=False)
    _begun: dict[str, asyncio.Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.jobs.add("test", self._make)
        self.open()

    def open(self) -> None:
        """A runner anew, for example after the settings have changed."""
        ticks = iter(range(1_000, 10**9))
        self.workshop = TryEnvironment(Threads(self.threads), self.policy)
        around = ChainDependencies(
            journal=self.journal,
            reporter=self.reports,
            events=self.watcher,
            jobs=self.jobs,
            places=FairSlots(self.places),
            workshop=self.workshop,
            draw=float,
            new_clock=lambda: lambda: next(ticks),
        )
        self.runner = JobRunner(around, self.max_chains)

    def has_begun(self, job_id: str) -> asyncio.Event:
        return self._begun.setdefault(job_id, asyncio.Event())

    async def until_begun(self, *job_ids: str) -> None:
        for job_id in job_ids:
            await self.has_begun(job_id).wait()

    async def run(self, chain: JobChain) -> FinishReport:
        """Run a chain to its end."""
        self.runner.run(chain, 1)
        return await self.reports.end(chain.request_id)

    def _make(self, job_id: JobId) -> Job:
        job = Scripted(self)
        job.id = job_id
        return job


async def turns(count: int = 20) -> None:
    """Let everything happen that needs no time."""
    for _ in range(count):
        await asyncio.sleep(0)
