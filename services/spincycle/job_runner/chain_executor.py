"""Carries out what a chain's state asks for: the only place where rules meet the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import structlog

from spincycle.chain.commands import (
    NOT_BEGUN,
    Append,
    CancelWait,
    Continue,
    Finish,
    FinishReport,
    Publish,
    StartTry,
    StopTry,
    Suspend,
    Wait,
    WithdrawTry,
    broken,
)
from spincycle.chain.job_data import UnfitJobData, own_copy
from spincycle.errors import StaleEpoch
from spincycle.job import Attempt
from spincycle.job_runner.backlog import Backlog, act_in_turns
from spincycle.job_runner.chain_view import ChainView, Description
from spincycle.job_runner.commit_gate import CommitGate
from spincycle.job_runner.job_objects import JobObjects
from spincycle.job_runner.outcome import failed
from spincycle.job_runner.ports import ChainBegun, ChainLeft
from spincycle.job_runner.timers import Timers
from spincycle.job_runner.try_execution import TryExecution
from spincycle.model.state import State
from spincycle.runtime.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spincycle.chain.chain_state import ChainState
    from spincycle.chain.commands import Command, TryEnd
    from spincycle.chain.waiting import WaitingJob, WaitSelection
    from spincycle.errors import SpinCycleError
    from spincycle.job import Job, Progress
    from spincycle.job_runner.backlog import Event
    from spincycle.job_runner.ports import ChainDependencies
    from spincycle.model.job_chain import JobChain
    from spincycle.model.job_status import JobStatus

LARGE = 500
"""Jobs of a chain from which its saved state is made in a thread."""


class ChainExecutor:
    """Runs one chain. It has no task of its own: it acts when something happens.

    Events are handled, and the commands they give rise to carried out, in order: at once, or a
    portion in each turn of the event loop if there are many.
    `is_over` is true once its end is reported, or its saved state is about to be.
    `gone` is called once, when nothing of the chain is left here. An error in a chain ends
    that chain, as failed, and no other.
    """

    __slots__ = (
        "_around", "_backlog", "_began_at", "_clock", "_counts", "_dismissed", "_gone", "_halted",
        "_handling", "_hands_over", "_held", "_in_line", "_jobs", "_last_words", "_left",
        "_objects", "_saving", "_state", "_timers", "_tries", "epoch", "is_over", "request_id",
    )  # fmt: skip

    def __init__(
        self,
        chain: JobChain,
        epoch: int,
        state: ChainState,
        around: ChainDependencies,
        gone: Callable[[ChainExecutor], None],
    ) -> None:
        self.request_id = chain.request_id
        self.epoch = epoch
        self._jobs = chain.jobs
        self._state = state
        self._around = around
        self._clock = around.new_clock()
        self._began_at = self._clock()
        self._gone = gone
        self._tries: dict[str, TryExecution] = {}
        self._in_line: dict[str, None] = {}
        self._objects = JobObjects(chain.request_id, chain.jobs, around.jobs)
        self._timers = Timers(self._elapsed)
        self._backlog = Backlog()
        self._saving: asyncio.Task[None] | None = None
        self._handling = False
        self._halted = False
        self._hands_over = False
        self._dismissed = False
        self._left = False
        self.is_over = False
        self._held = CommitGate()
        self._last_words: FinishReport | None = None
        self._counts = state.counts

    def start(self) -> None:
        """Begin, once."""
        self._began_at = self._clock()
        number = self._state.record.number
        self._around.events.begun(ChainBegun(self.request_id, self.epoch, number, self._began_at))
        self._handle(self._state.start)

    def stop(self, reason: str) -> None:
        """Stop the chain for good; its end is reported when its jobs have ended."""
        self._hands_over = False
        self._halted = True
        self._handle(partial(self._state.stop, reason))

    def suspend(self, *, hand_over: bool = False) -> None:
        """Stop the chain so that it can be resumed; its state is reported when that is done.

        With `hand_over` it is resumed at once, elsewhere: jobs may leave their work to that.
        """
        self._hands_over = hand_over
        self._halted = True
        self._handle(self._state.suspend)

    def abandon(self, *, hand_over: bool = False) -> None:
        """Stop the chain without a report: it is no longer this runner's, or not this one's."""
        self._hands_over = hand_over
        self._halted = True
        self._after_all(partial(self._dismiss, None))

    def under_way(self) -> Iterator[tuple[int, str]]:
        """Jobs that run or wait between tries: when their try began, and their id."""
        return self._state.under_way()

    def status(self, job_id: str) -> JobStatus:
        """One job, with what it says of itself."""
        return self._as_it_says(self._state.status(job_id))

    def waits(self, which: WaitSelection) -> Iterator[WaitingJob]:
        """Return the waiting jobs, whatever their reasons."""
        return self._state.waits(which)

    def waits_for(self) -> str:
        """What the chain as a whole waits for; empty while a job of it runs, or may."""
        if self._tries or self._in_line or self._state.record.all_committed:
            return ""
        return "the entries of the last jobs wait until they are committed in the job log"

    def describe(self, tell: Callable[[ChainView], None]) -> Callable[[], None]:
        """Tell how the chain is now, once all that has happened is committed.

        That may be at once, and it may be never. Answers what to call if it is not wanted any more.
        """
        description = Description(tell, self._held)
        self._after_all(partial(self._describe, description))
        return description.take_back

    def _describe(self, description: Description) -> None:
        if description.unwanted:
            return
        record = self._state.record
        description.view = ChainView(
            self.request_id,
            self.epoch,
            record.number,
            [self._as_it_says(status) for status in self._state.started()],
            *self._state.counts,
        )
        self._held.call(record.position, record.committed, description)

    def printing(self) -> Iterator[Job]:
        """Jobs that run and have printed something."""
        return (running.job for running in self._tries.values() if running.job.output is not None)

    def _as_it_says(self, status: JobStatus) -> JobStatus:
        running = self._tries.get(status.job_id)
        if running is None or status.state is not State.RUNNING:
            return status
        status.status = running.status() or status.status
        return status

    # As observer of tries

    def began(self, running: TryExecution) -> None:
        """A job's run is called."""
        self._handle(partial(self._state.began, running.job.id.id))

    def reported(self, running: TryExecution, progress: Progress) -> None:
        """A job told how far it is."""
        self._handle(partial(self._state.reported, running.job.id.id, progress))

    def ended(self, running: TryExecution, end: TryEnd) -> None:
        """A try has ended."""
        job_id = running.job.id.id
        del self._tries[job_id]
        if running.was_told_to_stop or end.state is not State.FAIL:
            self._objects.drop(job_id)
        self._around.places.give_back()
        self._handle(partial(self._state.ended, job_id, end))

    # As author of entries

    def committed(self, position: int) -> None:
        """The journal of the chain is committed up to a position."""
        if not self._dismissed:
            self._handle(partial(self._committed, position))

    def refused(self, error: SpinCycleError) -> None:
        """The journal does not take an entry."""
        if self._dismissed:
            return
        if isinstance(error, StaleEpoch):
            self._fenced(error)
        else:
            self._log().error("the journal does not take an entry", error=str(error))
            self._halted = True
            reason = f"the journal does not take an entry: {error}"
            self._after_all(partial(self._break, reason))

    def _handle(self, event: Event) -> None:
        if not self._dismissed:
            self._backlog.events.append(event)
        if not self._handling:
            self._work()

    def _work(self) -> None:
        self._handling = True
        self._state.record.watched = self._around.events.wanted
        try:
            self._backlog.work(self._carry_out, self._clock)
        except StaleEpoch as error:
            self._fenced(error)
        except Exception as error:  # noqa: BLE001 - one chain's trouble must not reach another
            self._log().exception("the chain broke its runner's rules")
            self._break(f"internal error: {type(error).__name__}: {error}")
        self._handling = bool(self._backlog)
        self._tell_progress()
        if self._handling:
            asyncio.get_running_loop().call_soon(self._work)
        else:
            self._leave_if_done()

    def _carry_out(self, command: Command) -> None:
        match command:
            case Publish(event, position):
                publish = partial(self._around.events.publish, event)
                self._held.call(position, self._state.record.committed, publish)
            case Append(entry):
                self._around.journal.append(entry, self)
            case StartTry(job_id) if self._halted:
                self._backlog.events.append(partial(self._state.ended, job_id, NOT_BEGUN))
            case StartTry(job_id):
                self._in_line[job_id] = None
                begin = partial(self._begin, command)
                self._around.places.ask(self.request_id, job_id, begin)
            case StopTry(job_id):
                self._leave_line(job_id)
                if job_id in self._tries:
                    self._tries[job_id].stop(hand_over=self._hands_over)
            case WithdrawTry(job_id):
                self._leave_line(job_id)
                if job_id in self._tries:
                    self._tries[job_id].withdraw()
            case Wait(token, seconds):
                self._timers.start(token, seconds)
            case CancelWait(token):
                self._timers.cancel(token)
            case Continue():
                self._backlog.commands.extend(self._state.go_on(self._clock()))
            case Finish(report):
                self._be_over()
                self._report_end(report)
            case Suspend():
                self._be_over()
                self._saving = asyncio.create_task(self._save(command))

    def _be_over(self) -> None:
        self._dismissed = self.is_over = True
        self._backlog.clear()

    async def _save(self, command: Suspend) -> None:
        """Report the saved state; until then the chain is here."""
        try:
            report = await off_loop(
                len(self._jobs) >= LARGE, lambda: self._around.reporter.suspended(command.suspended)
            )
            report()
        except Exception:  # noqa: BLE001 - whoever owns the request then finds that it is gone
            self._log().exception("the state of the chain cannot be saved")
        self._saving = None
        self._leave_if_done()

    def _begin(self, command: StartTry) -> None:
        """There is a place: make the job, copy its data, and run it."""
        job_id = command.job_id
        self._in_line.pop(job_id, None)
        if self._halted:
            self._around.places.give_back()
            self._handle(partial(self._state.ended, job_id, NOT_BEGUN))
            return
        planned = self._jobs[job_id]
        try:
            job = self._objects.get(command)
            data = own_copy(self._state.inputs(job_id), self._around.workshop.limits.data)
        except UnfitJobData as error:
            self._not_started(job_id, str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the factory's and the job's code
            self._not_started(job_id, f"problem creating job runner: {error}")
        else:
            job.attempt = Attempt(command.try_, command.key)
            running = TryExecution(job, data, self._around.workshop, self._clock, self)
            self._tries[job_id] = running
            running.begin(planned.timeout)

    def _not_started(self, job_id: str, error: str) -> None:
        self._around.places.give_back()
        self._handle(partial(self._state.ended, job_id, failed(error)))

    def _leave_line(self, job_id: str) -> None:
        if job_id in self._in_line and self._around.places.withdraw(self.request_id, job_id):
            del self._in_line[job_id]
            self._backlog.events.append(partial(self._state.ended, job_id, NOT_BEGUN))

    def _elapsed(self, token: int) -> None:
        self._handle(partial(self._state.elapsed, token))

    def _committed(self, position: int, now: int) -> list[Command]:
        self._backlog.due.extend(self._held.take_committed(position))
        return self._state.committed(position, now)

    def _after_all(self, act: Callable[[], None]) -> None:
        """Act once all that has happened is handled: entries of jobs that ended are appended."""
        if not self._handling:
            act()
            return

        def event(_now: int) -> list[Command]:
            act()
            return []

        self._backlog.events.append(event)

    def _fenced(self, error: StaleEpoch) -> None:
        self._log().warning("another runner owns the request now", current=error.current)
        self._dismiss(None)

    def _break(self, reason: str) -> None:
        self._hands_over = False
        now = self._clock()
        self._dismiss(broken(self.request_id, self.epoch, now, self._counts, reason))

    def _dismiss(self, last_words: FinishReport | None) -> None:
        """Ask the state nothing more; stop what runs, and then go, with a report or without."""
        if self._dismissed:
            return
        self._dismissed = True
        self._last_words = last_words
        self._timers.cancel_all()
        for job_id in list(self._in_line):
            self._around.places.withdraw(self.request_id, job_id)
        self._in_line.clear()
        self._backlog.clear()
        stop = partial(TryExecution.stop, hand_over=self._hands_over)
        act_in_turns(deque(self._tries.values()), stop)
        self._leave_if_done()

    def _log(self) -> structlog.typing.FilteringBoundLogger:
        log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
        return log.bind(request_id=self.request_id, epoch=self.epoch)

    def _tell_progress(self) -> None:
        if not self._dismissed and self._state.counts != self._counts:
            self._counts = self._state.counts
            self._around.reporter.progress(self.request_id, self.epoch, *self._counts)

    def _leave_if_done(self) -> None:
        if not self._dismissed or self._tries or self._left or self._saving is not None:
            return
        self._left = True
        self._tell_that_it_left()
        if self._last_words is not None:
            self._report_end(self._last_words)
        self._gone(self)

    def _report_end(self, report: FinishReport) -> None:
        self._around.reporter.finished(report, report.finished_at - self._began_at)

    def _tell_that_it_left(self) -> None:
        left = ChainLeft(
            self.request_id,
            self.epoch,
            self._state.record.number,
            self._clock(),
            all_told=self.is_over and not self._held,
        )
        self._held.drop()
        self._around.events.left(left)
