"""Execution of one try of one job: start, progress, timeout, stop and abandonment."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

import structlog

from spincycle.chain.commands import NOT_STARTED
from spincycle.chain.try_outcome import seconds_text
from spincycle.job import Job, Progress, Return
from spincycle.job.current_job import CURRENT_JOB
from spincycle.job_runner.outcome import OutputLimits, display_text, failed, raised, returned
from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.chain.commands import TryEnd
    from spincycle.job_runner.threads import Threads
    from spincycle.model.job_chain import Value

REPORT_INTERVAL = 0.1
"""Least seconds between two progress reports that are forwarded; the last one always is."""

_PERCENT = range(101)


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """How long a job may take to stop.

    Attributes:
        grace: seconds from the call of `stop` until the job is cancelled. A job on a thread
            cannot be cancelled and is abandoned then.
        cancel_grace: seconds from the cancellation until the job is abandoned.
    """

    grace: float = 10.0
    cancel_grace: float = 2.0


@dataclass(frozen=True, slots=True)
class TryEnvironment:
    """What all tries of one runner share.

    Attributes:
        threads: threads for blocking jobs.
        abandoned_tasks: tasks of abandoned jobs; the references keep them from being collected.
    """

    threads: Threads
    stop_policy: StopPolicy = field(default_factory=StopPolicy)
    limits: OutputLimits = field(default_factory=OutputLimits)
    abandoned_tasks: set[asyncio.Task[None]] = field(default_factory=set)


class TryObserver(Protocol):
    """Receives the events of a try, on the event loop."""

    def started(self, running: TryExecution) -> None:
        """The job's `run` is about to be called."""
        ...

    def reported(self, running: TryExecution, progress: Progress) -> None:
        """The job reported progress."""
        ...

    def ended(self, running: TryExecution, end: TryEnd) -> None:
        """The try has ended or was abandoned; called exactly once."""
        ...


class TryExecution:
    """Runs a job once; calls `observer.ended` exactly once, whatever the job does.

    `clock` is the clock of the job's chain: nanoseconds since 1970, UTC.
    """

    __slots__ = (
        "_cancelled", "_clock", "_data", "_ended", "_environment", "_loop", "_observer",
        "_report_due", "_started_at", "_stop_error", "_stopping", "_task", "_timed_out",
        "_timers", "job",
    )  # fmt: skip

    def __init__(
        self,
        job: Job,
        data: dict[str, Value],
        environment: TryEnvironment,
        clock: Callable[[], int],
        observer: TryObserver,
    ) -> None:
        self.job = job
        self._data = data
        self._environment = environment
        self._clock = clock
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._started_at = 0
        self._stopping = False
        self._stop_error = ""
        self._timed_out = False
        self._cancelled = False
        self._ended = False
        self._report_due = False

    @property
    def stop_requested(self) -> bool:
        """Whether `stop` was called on the job, after which its object is not reused."""
        return self._stopping

    def start(self, timeout: float | None) -> None:
        """Call the job's `run`; `timeout` is in seconds and starts with the actual call."""
        if self.job.immediate:
            self._on_started(timeout)
            value: object = None
            failure: BaseException | None = None
            try:
                value = self._context().run(self.job.run, self._data)
            except BaseException as error:  # noqa: BLE001 - job code; every error is reported
                failure = error
            self._on_returned(value, failure)
        elif inspect.iscoroutinefunction(self.job.run):
            self._on_started(timeout)
            context = self._context()
            try:
                working = cast("Awaitable[object]", context.run(self.job.run, self._data))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - job code, e.g. wrong parameters
                self._end(raised(error, self._environment.limits))
            else:
                self._task = self._loop.create_task(self._work(working), context=context)
        else:
            context = self._context()
            self._environment.threads.run(
                owner=self.job.id.request_id,
                key=self.job.id.id,
                work=lambda: context.run(self.job.run, self._data),
                on_started=lambda: self._on_started(timeout),
                on_done=self._on_returned,
            )

    def withdraw(self) -> None:
        """End the try if its job still waits for a thread."""
        if self._environment.threads.withdraw(self.job.id.request_id, self.job.id.id):
            self._ended = True
            self._observer.ended(self, NOT_STARTED)

    def stop(self, *, hand_over: bool = False) -> None:
        """Stop the job, once; cancel it if it does not stop in time, then abandon it.

        With `hand_over` the job may leave its work to the next try, on another runner.
        """
        self.withdraw()
        if self._stopping or self._ended:
            return
        self._stopping = True
        self._schedule(self._environment.stop_policy.grace, self._cancel_or_abandon)
        can_hand_over = type(self.job).hand_over is not Job.hand_over
        stop = self.job.hand_over if hand_over and can_hand_over else self.job.stop
        context = self._context()
        if self._task is None and not inspect.iscoroutinefunction(stop):
            self._environment.threads.start_now(partial(context.run, stop), self._on_stop_returned)
            return
        try:
            stopping = context.run(stop)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - job code; the deadlines stay
            self._on_stop_returned(None, error)
        else:
            self._on_stop_returned(stopping, None)

    def status(self) -> str:
        """Return the job's status text, or a text that describes why it is not available."""
        try:
            return display_text(self._context().run(self.job.status))
        except Exception as error:  # noqa: BLE001 - job code
            return display_text(f"status failed: {type(error).__name__}: {display_text(error)}")

    def _context(self) -> Context:
        context = copy_context()
        context.run(CURRENT_JOB.set, self.job)
        return context

    def _on_started(self, timeout: float | None) -> None:
        self._started_at = self._clock()
        if timeout is not None:
            self._schedule(timeout, self._time_out)
        self.job.output = None
        self._set_listener(self._on_job_report)
        self._observer.started(self)

    async def _work(self, working: Awaitable[object]) -> None:
        try:
            value = await working
        except asyncio.CancelledError as error:
            if self._cancelled:
                self._end(failed(f"did not stop within {self._grace()} and was cancelled"))
                raise
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._end(raised(error, self._environment.limits))
        except BaseException as error:
            # Not from the job: thrown into the coroutine when a closed loop discards it.
            if isinstance(error, GeneratorExit) and not self._is_current():
                raise
            self._end(raised(error, self._environment.limits))
        else:
            self._returned(value)

    def _is_current(self) -> bool:
        try:
            return asyncio.current_task() is self._task
        except RuntimeError:
            return False

    def _on_returned(self, value: object, error: BaseException | None) -> None:
        if error is not None:
            self._end(raised(error, self._environment.limits))
        elif not isinstance(value, Return) and inspect.isawaitable(value) and not self._ended:
            self._task = self._loop.create_task(self._work(value), context=self._context())
        else:
            self._returned(value)

    def _returned(self, value: object) -> None:
        if not self._ended:
            limits = self._environment.limits
            self._end(returned(value, self._data, stopped=self._stopping, limits=limits))

    def _end(self, end: TryEnd) -> None:
        if self._ended:
            return
        self._ended = True
        for timer in self._timers:
            timer.cancel()
        self._set_listener(None)
        error = end.error
        if self._stop_error and end.state is not State.COMPLETE:
            error = f"{error}; {self._stop_error}" if error else self._stop_error
        end.error = error
        end.started_at = self._started_at
        end.finished_at = self._clock()
        end.timed_out = self._timed_out
        self._observer.ended(self, end)

    def _time_out(self) -> None:
        self._timed_out = not self._stopping
        self.stop()

    def _on_stop_returned(self, stopping: object, error: BaseException | None) -> None:
        if error is not None:
            self._stop_error = f"stop failed: {type(error).__name__}: {error}"
        elif inspect.isawaitable(stopping):
            self._retain(
                self._loop.create_task(self._finish_stop(stopping), context=self._context())
            )

    async def _finish_stop(self, stopping: Awaitable[object]) -> None:
        limit = self._environment.stop_policy
        try:
            async with asyncio.timeout(limit.grace + limit.cancel_grace):
                await stopping
        except (Exception, SystemExit) as error:  # noqa: BLE001 - job code; the deadlines stay
            self._on_stop_returned(None, error)

    def _cancel_or_abandon(self) -> None:
        if self._task is None:
            self._abandon()
            return
        self._cancelled = True
        self._task.cancel()
        self._schedule(self._environment.stop_policy.cancel_grace, self._abandon)

    def _abandon(self) -> None:
        if self._task is not None:
            self._retain(self._task)
        error = f"did not stop within {self._grace()} and was abandoned; it may still be running"
        self._end(failed(error, ignored_stop=True))

    def _grace(self) -> str:
        return seconds_text(self._environment.stop_policy.grace)

    def _schedule(self, seconds: float, call: Callable[[], None]) -> None:
        self._timers.append(self._loop.call_later(seconds, call))

    def _retain(self, task: asyncio.Task[None]) -> None:
        self._environment.abandoned_tasks.add(task)
        task.add_done_callback(self._environment.abandoned_tasks.discard)

    def _set_listener(self, listener: Callable[[Progress], None] | None) -> None:
        try:
            self.job.on_report(listener)
        except Exception as error:  # noqa: BLE001 - job code; the try runs without reports
            structlog.get_logger(__name__).warning(
                "job reports not available",
                request_id=self.job.id.request_id,
                job_id=self.job.id.id,
                path=self.job.id.path,
                error=display_text(error),
            )

    def _on_job_report(self, _progress: Progress) -> None:
        if not self._report_due:
            self._report_due = True
            with suppress(RuntimeError):  # The loop is closed: nothing needs the report.
                self._loop.call_soon_threadsafe(self._report_soon)

    def _report_soon(self) -> None:
        if not self._ended:
            self._schedule(REPORT_INTERVAL, self._report)

    def _report(self) -> None:
        self._report_due = False
        if not self._ended:
            self._observer.reported(self, _sanitized(self.job.progress))


def _sanitized(progress: object) -> Progress:
    """Return a report that is valid for display, whatever the job passed."""
    if not isinstance(progress, Progress):
        return Progress(display_text(progress))
    percent = progress.percent if progress.percent in _PERCENT else None
    return Progress(display_text(progress.text), percent)
