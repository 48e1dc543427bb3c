"""One try of one job: begun, watched, stopped, and if need be given up."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

import structlog

from spincycle.chain.commands import NOT_BEGUN
from spincycle.chain.verdict import seconds_text
from spincycle.job import Job, Progress, Return
from spincycle.job_runner.outcome import OutputLimits, failed, raised, returned, told
from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.chain.commands import TryEnd
    from spincycle.job_runner.threads import Threads
    from spincycle.model.job_chain import Value

REPORT_INTERVAL = 0.1
"""Seconds between two reports of a job that are passed on; the last one always is."""


_PERCENT = range(101)


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """How long a job has to obey.

    Attributes:
        grace: seconds from the call of stop until the job is cancelled; one on a thread
            cannot be cancelled and is given up then.
        cancel_grace: seconds from its cancellation until it is given up.
    """

    grace: float = 10.0
    cancel_grace: float = 2.0


@dataclass(frozen=True, slots=True)
class TryEnvironment:
    """Where tries are run.

    Attributes:
        threads: threads for jobs that block.
        leftovers: tasks of jobs that were given up, kept from vanishing half-way.
    """

    threads: Threads
    stop_policy: StopPolicy = field(default_factory=StopPolicy)
    limits: OutputLimits = field(default_factory=OutputLimits)
    leftovers: set[asyncio.Task[None]] = field(default_factory=set)


class Observer(Protocol):
    """Who wants to know how a try goes. Each is called on the event loop."""

    def began(self, running: TryExecution) -> None:
        """The job's run is called now."""
        ...

    def reported(self, running: TryExecution, progress: Progress) -> None:
        """The job told how far it is."""
        ...

    def ended(self, running: TryExecution, end: TryEnd) -> None:
        """The try has ended, or was given up. Comes exactly once."""
        ...


class TryExecution:
    """Runs a job once. Whatever the job does, `observer.ended` is called exactly once.

    `clock` is the one of its chain.
    """

    __slots__ = (
        "_cancelled", "_clock", "_data", "_ended", "_loop", "_observer", "_report_due",
        "_started_at", "_stop_error", "_stopping", "_task", "_timed_out", "_timers",
        "_workshop", "job",
    )  # fmt: skip

    def __init__(
        self,
        job: Job,
        data: dict[str, Value],
        workshop: TryEnvironment,
        clock: Callable[[], int],
        observer: Observer,
    ) -> None:
        self.job = job
        self._data = data
        self._workshop = workshop
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
    def was_told_to_stop(self) -> bool:
        """True if stop was called on the job: such an object is not fit for another try."""
        return self._stopping

    def begin(self, timeout: float | None) -> None:
        """Call the job's run; `timeout` is seconds from when it is really called."""
        if self.job.immediate:
            self._begun(timeout)
            value: object = None
            problem: BaseException | None = None
            try:
                value = self.job.run(self._data)
            except BaseException as error:  # noqa: BLE001 - the job's code; all of it is told
                problem = error
            self._was_called(value, problem)
        elif inspect.iscoroutinefunction(self.job.run):
            self._begun(timeout)
            try:
                working = cast(Awaitable[object], self.job.run(self._data))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the job's code: it takes no data, say
                self._end(raised(error, self._workshop.limits))
            else:
                self._task = self._loop.create_task(self._work(working))
        else:
            self._workshop.threads.run(
                owner=self.job.id.request_id,
                key=self.job.id.id,
                work=lambda: self.job.run(self._data),
                begun=lambda: self._begun(timeout),
                done=self._was_called,
            )

    def withdraw(self) -> None:
        """End the try if its job is still waiting for a thread."""
        if self._workshop.threads.withdraw(self.job.id.request_id, self.job.id.id):
            self._ended = True
            self._observer.ended(self, NOT_BEGUN)

    def stop(self, *, hand_over: bool = False) -> None:
        """Tell the job to stop, once; cancel it if it does not, and then give it up.

        With `hand_over` it may leave what it does to the try that follows elsewhere.
        """
        self.withdraw()
        if self._stopping or self._ended:
            return
        self._stopping = True
        self._later(self._workshop.stop_policy.grace, self._lose_patience)
        can_hand_over = type(self.job).hand_over is not Job.hand_over
        stop = self.job.hand_over if hand_over and can_hand_over else self.job.stop
        if self._task is None and not inspect.iscoroutinefunction(stop):
            self._workshop.threads.call(stop, self._stop_called)
            return
        try:
            stopping = stop()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the job's code; stopping goes on without it
            self._stop_called(None, error)
        else:
            self._stop_called(stopping, None)

    def status(self) -> str:
        """What the job says of itself."""
        try:
            return told(self.job.status())
        except Exception as error:  # noqa: BLE001 - the job's code; a status is no reason to fail
            return told(f"status failed: {type(error).__name__}: {told(error)}")

    def _begun(self, timeout: float | None) -> None:
        self._started_at = self._clock()
        if timeout is not None:
            self._later(timeout, self._time_out)
        self.job.output = None
        self._listen(self._heard)
        self._observer.began(self)

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
            self._end(raised(error, self._workshop.limits))
        except BaseException as error:
            # Whatever the job raises, unless it is thrown in because the loop is no more.
            if isinstance(error, GeneratorExit) and not self._is_current():
                raise
            self._end(raised(error, self._workshop.limits))
        else:
            self._returned(value)

    def _is_current(self) -> bool:
        try:
            return asyncio.current_task() is self._task
        except RuntimeError:
            return False

    def _was_called(self, value: object, error: BaseException | None) -> None:
        if error is not None:
            self._end(raised(error, self._workshop.limits))
        elif not isinstance(value, Return) and inspect.isawaitable(value) and not self._ended:
            self._task = self._loop.create_task(self._work(value))
        else:
            self._returned(value)

    def _returned(self, value: object) -> None:
        if not self._ended:
            limits = self._workshop.limits
            self._end(returned(value, self._data, stopped=self._stopping, limits=limits))

    def _end(self, end: TryEnd) -> None:
        if self._ended:
            return
        self._ended = True
        for timer in self._timers:
            timer.cancel()
        self._listen(None)
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

    def _stop_called(self, stopping: object, error: BaseException | None) -> None:
        if error is not None:
            self._stop_error = f"stop failed: {type(error).__name__}: {error}"
        elif inspect.isawaitable(stopping):
            self._keep(self._loop.create_task(self._finish_stop(stopping)))

    async def _finish_stop(self, stopping: Awaitable[object]) -> None:
        limit = self._workshop.stop_policy
        try:
            async with asyncio.timeout(limit.grace + limit.cancel_grace):
                await stopping
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the job's code; stopping goes on without it
            self._stop_called(None, error)

    def _lose_patience(self) -> None:
        if self._task is None:
            self._give_up()
            return
        self._cancelled = True
        self._task.cancel()
        self._later(self._workshop.stop_policy.cancel_grace, self._give_up)

    def _give_up(self) -> None:
        if self._task is not None:
            self._keep(self._task)
        error = f"did not stop within {self._grace()} and was abandoned; it may be running still"
        self._end(failed(error, ignored_stop=True))

    def _grace(self) -> str:
        return seconds_text(self._workshop.stop_policy.grace)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._timers.append(self._loop.call_later(seconds, call))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._workshop.leftovers.add(task)
        task.add_done_callback(self._workshop.leftovers.discard)

    def _listen(self, listener: Callable[[Progress], None] | None) -> None:
        try:
            self.job.on_report(listener)
        except Exception as error:  # noqa: BLE001 - the job's code; it then tells nothing of itself
            structlog.get_logger(__name__).warning("a job cannot be heard", error=told(error))

    def _heard(self, _progress: Progress) -> None:
        if not self._report_due:
            self._report_due = True
            with suppress(RuntimeError):  # The loop has ended, and nobody watches any more.
                self._loop.call_soon_threadsafe(self._report_soon)

    def _report_soon(self) -> None:
        if not self._ended:
            self._later(REPORT_INTERVAL, self._report)

    def _report(self) -> None:
        self._report_due = False
        if not self._ended:
            self._observer.reported(self, _fit(self.job.progress))


def _fit(progress: object) -> Progress:
    """A report as it can be shown to others, whatever the job made of it."""
    if not isinstance(progress, Progress):
        return Progress(told(progress))
    percent = progress.percent if progress.percent in _PERCENT else None
    return Progress(told(progress.text), percent)
