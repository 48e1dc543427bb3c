"""Executes the commands of a chain's state machine on the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import structlog

from spincycle.chain.commands import (
    NOT_STARTED,
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
    failed_report,
)
from spincycle.chain.job_data import InvalidJobData, copy_data
from spincycle.errors import NotYours, SpinCycleError, StaleEpoch
from spincycle.job import Attempt
from spincycle.job_runner.backlog import Backlog, call_in_turns
from spincycle.job_runner.chain_view import ChainView, PendingView
from spincycle.job_runner.commit_gate import CommitGate
from spincycle.job_runner.job_objects import JobObjects
from spincycle.job_runner.outcome import display_text, failed
from spincycle.job_runner.ports import ChainReleased, ChainStarted
from spincycle.job_runner.timers import Timers
from spincycle.job_runner.try_execution import TryExecution
from spincycle.model.state import State
from spincycle.runtime.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spincycle.chain.chain_state import ChainState
    from spincycle.chain.commands import Command, TryEnd
    from spincycle.chain.waiting import WaitingJob, WaitSelection
    from spincycle.identity.append_grants import AppendGrant
    from spincycle.job import Job, Progress
    from spincycle.job.try_output import TryOutput
    from spincycle.job_runner.backlog import Event
    from spincycle.job_runner.ports import ChainDependencies
    from spincycle.model.job_chain import JobChain
    from spincycle.model.job_status import JobStatus

THREAD_MIN_JOBS = 500
"""Number of jobs from which a chain's saved state is encoded in a thread."""


class ChainExecutor:
    """Runs one chain, driven by events; it has no task.

    Events are handled, and their commands executed, in order: immediately, or in portions of
    one per turn of the event loop if there are many. `has_ended` is True once the chain's end
    is reported or its saved state is being encoded. `on_removed` is called once, when nothing
    of the chain is left on this runner. An internal error fails this chain only.
    """

    __slots__ = (
        "_backlog", "_clock", "_closed", "_counts", "_deps", "_final_report", "_gate", "_halted",
        "_handing_over", "_handling", "_jobs", "_objects", "_on_removed", "_queued", "_removed",
        "_saving", "_started_at", "_state", "_timers", "_tries", "append_grant", "epoch",
        "has_ended", "request_id",
    )  # fmt: skip

    def __init__(
        self,
        chain: JobChain,
        epoch: int,
        state: ChainState,
        dependencies: ChainDependencies,
        on_removed: Callable[[ChainExecutor], None],
        append_grant: AppendGrant | None = None,
    ) -> None:
        self.request_id = chain.request_id
        self.epoch = epoch
        self.append_grant = append_grant
        self._jobs = chain.jobs
        self._state = state
        self._deps = dependencies
        self._clock = dependencies.new_clock()
        self._started_at = self._clock()
        self._on_removed = on_removed
        self._tries: dict[str, TryExecution] = {}
        self._queued: dict[str, None] = {}
        self._objects = JobObjects(chain.request_id, chain.jobs, dependencies.jobs)
        self._timers = Timers(self._elapsed)
        self._backlog = Backlog()
        self._saving: asyncio.Task[None] | None = None
        self._handling = False
        self._halted = self._handing_over = False
        self._closed = self._removed = self.has_ended = False
        self._gate = CommitGate()
        self._final_report: FinishReport | None = None
        self._counts = state.counts

    def start(self) -> None:
        """Start the chain; call it once."""
        self._started_at = self._clock()
        number = self._state.record.number
        started = ChainStarted(self.request_id, self.epoch, number, self._started_at)
        self._deps.events.chain_started(started)
        self._handle(self._state.start)

    def stop(self, reason: str) -> None:
        """Stop the chain for good; its end is reported once its jobs have ended."""
        self._handing_over = False
        self._halted = True
        self._handle(partial(self._state.stop, reason))

    def suspend(self, *, hand_over: bool = False) -> None:
        """Suspend the chain; its saved state is reported once its jobs have ended.

        With `hand_over` another runner resumes it at once: running jobs may pass their work on.
        """
        self._handing_over = hand_over
        self._halted = True
        self._handle(self._state.suspend)

    def abandon(self, *, hand_over: bool = False) -> None:
        """Stop the chain without a report: another runner or a successor owns the request."""
        self._handing_over = hand_over
        self._halted = True
        self._after_backlog(partial(self._close, None))

    def active(self) -> Iterator[tuple[int, str]]:
        """Return the jobs that run or wait between tries, as (start of the try, job id)."""
        return self._state.active()

    def status(self, job_id: str) -> JobStatus:
        """Return the status of one job, with the live status text if it runs."""
        return self._with_live_status(self._state.status(job_id))

    def waits(self, which: WaitSelection) -> Iterator[WaitingJob]:
        """Return the waiting jobs, whatever their reasons."""
        return self._state.waits(which)

    def waits_for(self) -> str:
        """Return what the chain as a whole waits for; empty while one of its jobs can run."""
        if self._tries or self._queued or self._state.record.all_committed:
            return ""
        return "the journal entries of the last jobs are not committed yet"

    def describe(self, deliver: Callable[[ChainView], None]) -> Callable[[], None]:
        """Deliver a view of the chain as of now, once the journal up to here is committed.

        That may happen before this method returns, or never. Return a function that cancels it.
        """
        pending = PendingView(deliver, self._gate)
        self._after_backlog(partial(self._describe, pending))
        return pending.cancel

    def _describe(self, pending: PendingView) -> None:
        if pending.cancelled:
            return
        record = self._state.record
        pending.view = ChainView(
            self.request_id,
            self.epoch,
            record.number,
            [self._with_live_status(status) for status in self._state.started_jobs()],
            *self._state.counts,
        )
        self._gate.call(record.position, record.committed, pending)

    def jobs_with_output(self) -> Iterator[tuple[Job, TryOutput]]:
        """Return the running jobs that have printed, with the output of their tries."""
        return ((each.job, each.output) for each in self._tries.values() if each.output.used)

    def _with_live_status(self, status: JobStatus) -> JobStatus:
        running = self._tries.get(status.job_id)
        if running is None or status.state is not State.RUNNING:
            return status
        status.status = running.status() or status.status
        return status

    # TryObserver

    def started(self, running: TryExecution) -> None:
        """Handle that a job's `run` is being called."""
        self._handle(partial(self._state.started, running.job.id.id))

    def reported(self, running: TryExecution, progress: Progress) -> None:
        """Handle a progress report of a job."""
        self._handle(partial(self._state.reported, running.job.id.id, progress))

    def ended(self, running: TryExecution, end: TryEnd) -> None:
        """Handle the end of a try."""
        job_id = running.job.id.id
        del self._tries[job_id]
        if running.stop_requested or end.state is not State.FAIL:
            self._objects.discard(job_id)
        self._deps.job_slots.release()
        self._handle(partial(self._state.ended, job_id, end))

    # CommitListener

    def committed(self, position: int) -> None:
        """Handle that the chain's journal is committed up to a position."""
        if not self._closed:
            self._handle(partial(self._committed, position))

    def refused(self, error: SpinCycleError) -> None:
        """Handle that the job log rejected an entry for good."""
        if self._closed:
            return
        if error.reason in (StaleEpoch.reason, NotYours.reason):
            self._lose_ownership(error)
        else:
            self._log().error("journal entry refused", error=str(error))
            self._halted = True
            reason = f"the job log refused a journal entry: {error}"
            self._after_backlog(partial(self._fail, reason))

    def _handle(self, event: Event) -> None:
        if not self._closed:
            self._backlog.events.append(event)
        if not self._handling:
            self._work()

    def _work(self) -> None:
        self._handling = True
        self._state.record.events_enabled = self._deps.events.enabled
        try:
            self._backlog.work(self._execute, self._clock)
        except StaleEpoch as error:
            self._lose_ownership(error)
        except Exception as error:  # noqa: BLE001 - an error in one chain must not affect others
            self._log().exception("chain failed by an internal error")
            self._fail(f"internal error: {type(error).__name__}: {error}")
        self._handling = bool(self._backlog)
        self._report_progress()
        if self._handling:
            asyncio.get_running_loop().call_soon(self._work)
        else:
            self._remove_if_idle()

    def _execute(self, command: Command) -> None:
        match command:
            case Publish(event, position):
                publish = partial(self._deps.events.publish, event)
                self._gate.call(position, self._state.record.committed, publish)
            case Append(entry):
                self._deps.journal.append(entry, self)
            case StartTry(job_id) if self._halted:
                self._backlog.events.append(partial(self._state.ended, job_id, NOT_STARTED))
            case StartTry(job_id):
                self._queued[job_id] = None
                start = partial(self._start_try, command)
                self._deps.job_slots.acquire(self.request_id, job_id, start)
            case StopTry(job_id):
                self._dequeue(job_id)
                if job_id in self._tries:
                    self._tries[job_id].stop(hand_over=self._handing_over)
            case WithdrawTry(job_id):
                self._dequeue(job_id)
                if job_id in self._tries:
                    self._tries[job_id].withdraw()
            case Wait(token, seconds):
                self._timers.start(token, seconds)
            case CancelWait(token):
                self._timers.cancel(token)
            case Continue():
                self._backlog.commands.extend(self._state.proceed(self._clock()))
            case Finish(report):
                self._end()
                self._report_end(report)
            case Suspend():
                self._end()
                self._saving = asyncio.create_task(self._save(command))

    def _end(self) -> None:
        self._closed = self.has_ended = True
        self._backlog.clear()

    async def _save(self, command: Suspend) -> None:
        """Report the saved state; the chain stays resident until then."""
        try:
            is_large = len(self._jobs) >= THREAD_MIN_JOBS
            report = await off_loop(
                is_large, lambda: self._deps.reporter.suspended(command.suspended)
            )
            report()
        except Exception:  # noqa: BLE001 - the chain is then recovered from the journal
            self._log().exception("saved state not encoded")
        self._saving = None
        self._remove_if_idle()

    def _start_try(self, command: StartTry) -> None:
        """Create the job, copy its data and run it; a job slot has been acquired for it."""
        job_id = command.job_id
        self._queued.pop(job_id, None)
        if self._halted:
            self._deps.job_slots.release()
            self._handle(partial(self._state.ended, job_id, NOT_STARTED))
            return
        planned = self._jobs[job_id]
        try:
            job = self._objects.get(command)
            data = copy_data(self._state.inputs(job_id), self._deps.environment.limits.data)
        except InvalidJobData as error:
            self._reject_try(job_id, str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - job code
            self._reject_try(job_id, f"problem creating job runner: {error}")
        else:
            job.attempt = Attempt(command.try_number, command.key)
            environment, scrubber = self._deps.environment, self._objects.scrubber
            running = TryExecution(job, data, environment, self._clock, self, scrubber)
            self._tries[job_id] = running
            running.start(planned.timeout)

    def _reject_try(self, job_id: str, error: str) -> None:
        self._deps.job_slots.release()
        end = failed(error, scrubber=self._objects.scrubber)
        self._handle(partial(self._state.ended, job_id, end))

    def _dequeue(self, job_id: str) -> None:
        if job_id in self._queued and self._deps.job_slots.withdraw(self.request_id, job_id):
            del self._queued[job_id]
            self._backlog.events.append(partial(self._state.ended, job_id, NOT_STARTED))

    def _elapsed(self, token: int) -> None:
        self._handle(partial(self._state.elapsed, token))

    def _committed(self, position: int, now: int) -> list[Command]:
        self._backlog.due.extend(self._gate.take_committed(position))
        return self._state.committed(position, now)

    def _after_backlog(self, action: Callable[[], None]) -> None:
        """Act once the backlog is handled, so that entries of ended jobs are appended first."""
        if not self._handling:
            action()
            return

        def event(_now: int) -> list[Command]:
            action()
            return []

        self._backlog.events.append(event)

    def _lose_ownership(self, error: SpinCycleError) -> None:
        self._log().warning("chain abandoned", reason=error.reason, error=str(error))
        self._close(None)

    def _fail(self, reason: str) -> None:
        self._handing_over = False
        now, reason = self._clock(), display_text(reason, self._objects.scrubber)
        self._close(failed_report(self.request_id, self.epoch, now, self._counts, reason))

    def _close(self, final_report: FinishReport | None) -> None:
        """Handle no more events, stop the running jobs, then send `final_report`, if any."""
        if self._closed:
            return
        self._closed = True
        self._final_report = final_report
        self._timers.cancel_all()
        for job_id in list(self._queued):
            self._deps.job_slots.withdraw(self.request_id, job_id)
        self._queued.clear()
        self._backlog.clear()
        stop = partial(TryExecution.stop, hand_over=self._handing_over)
        call_in_turns(deque(self._tries.values()), stop)
        self._remove_if_idle()

    def _log(self) -> structlog.typing.FilteringBoundLogger:
        log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)
        return log.bind(request_id=self.request_id, epoch=self.epoch)

    def _report_progress(self) -> None:
        if not self._closed and self._state.counts != self._counts:
            self._counts = self._state.counts
            self._deps.reporter.progress(self.request_id, self.epoch, *self._counts)

    def _remove_if_idle(self) -> None:
        if not self._closed or self._tries or self._removed or self._saving is not None:
            return
        self._removed = True
        self._publish_release()
        if self._final_report is not None:
            self._report_end(self._final_report)
        self._on_removed(self)

    def _report_end(self, report: FinishReport) -> None:
        self._deps.reporter.finished(report, report.finished_at - self._started_at)

    def _publish_release(self) -> None:
        number, now = self._state.record.number, self._clock()
        complete = self.has_ended and not self._gate
        self._gate.clear()
        released = ChainReleased(self.request_id, self.epoch, number, now, complete)
        self._deps.events.chain_released(released)
