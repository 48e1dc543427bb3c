"""Thread pool for work that may hang; hanging threads are abandoned and replaced."""

from __future__ import annotations

import asyncio
import inspect
import time
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from spincycle.errors import CreateStuck

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

T = TypeVar("T")


class WorkAbandoned(BaseException):
    """The work was abandoned and must end. Not an Exception, so that job code does not catch it."""


class StepTimeout(Exception):
    """A step of the work did not end in time."""

    def __init__(self, step: object) -> None:
        self.step = step
        super().__init__(f"{step} did not end in time")


class CannotAwait(Exception):
    """A `create` is asynchronous although its class declares creates_immediately."""

    def __init__(self) -> None:
        super().__init__("create is asynchronous, but its class declares creates_immediately")


class StepMonitor:
    """Monitors the steps of a piece of work that may hang.

    The work reports each step; the caller reads how long the current one has taken and may abandon
    the work.

    Args:
        loop: event loop for awaitables of the work; None if the work itself runs on an event loop
            and is not monitored.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self._step: tuple[float, object] | None = None
        self._abandoned = False
        self._awaited: Future[object] | None = None

    def begin_step(self, step: object) -> None:
        """Start a step that may hang.

        Raises:
            WorkAbandoned: the work was abandoned.
        """
        if self._abandoned:
            raise WorkAbandoned
        self._step = (time.monotonic(), step)

    def end_step(self) -> None:
        """End the step.

        Raises:
            WorkAbandoned: the work was abandoned.
        """
        self._step = None
        if self._abandoned:
            raise WorkAbandoned

    def run_awaitable(self, awaitable: Awaitable[object]) -> None:
        """Run an awaitable on the caller's event loop and block until it is done.

        Raises:
            CannotAwait: the work itself runs on an event loop.
        """

        async def run() -> object:
            return await awaitable

        if self._loop is None:
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise CannotAwait
        self._awaited = asyncio.run_coroutine_threadsafe(run(), self._loop)
        if self._abandoned:
            self._awaited.cancel()
        self._awaited.result()
        self._awaited = None

    def abandon(self) -> None:
        """Make the work end at its next step."""
        self._abandoned = True
        if self._awaited is not None:
            self._awaited.cancel()

    def remaining(self, limit: float) -> tuple[float, object]:
        """Return the remaining seconds of the current step, and the step (None between steps)."""
        step = self._step
        if step is None:
            return limit, None
        return step[0] + limit - time.monotonic(), step[1]


class WorkerThreads:
    """Runs blocking work on a bounded number of threads.

    A hanging thread cannot be stopped. It is abandoned and replaced, up to a limit.

    Attributes:
        abandoned: number of abandoned threads that still hang.
    """

    def __init__(self, limit: int = 32, abandoned_limit: int = 64) -> None:
        self._slots = asyncio.Semaphore(limit)
        self._abandoned_limit = abandoned_limit
        self.abandoned = 0
        self._idle: list[_Worker] = []

    async def run(self, work: Callable[[StepMonitor], T], step_limit: float) -> T:
        """Run `work` and return its result.

        Raises:
            StepTimeout: a step took more than `step_limit` seconds.
            CreateStuck: too many abandoned threads hang.
        """
        if self.abandoned >= self._abandoned_limit:
            raise CreateStuck(self.abandoned)
        loop = asyncio.get_running_loop()
        async with self._slots:
            worker = self._idle.pop() if self._idle else _Worker()
            task = _Task(work, StepMonitor(loop), loop)
            worker.queue.put(task)
            try:
                await _wait(task, step_limit)
            except BaseException:
                self._abandon(worker, task)
                raise
            self._idle.append(worker)
            return task.done.result()

    def close(self) -> None:
        """Stop the idle threads."""
        for worker in self._idle:
            worker.queue.put(None)
        self._idle.clear()

    def _abandon(self, worker: _Worker, task: _Task[T]) -> None:
        task.monitor.abandon()
        worker.queue.put(None)
        self.abandoned += 1
        task.done.add_done_callback(self._on_finished)

    def _on_finished(self, done: asyncio.Future[Any]) -> None:
        self.abandoned -= 1
        if not done.cancelled():
            done.exception()


class _Task(Generic[T]):
    def __init__(
        self,
        work: Callable[[StepMonitor], T],
        monitor: StepMonitor,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.monitor = monitor
        self.done: asyncio.Future[T] = loop.create_future()
        self._work = work
        self._loop = loop

    def run(self) -> None:
        try:
            result = self._work(self.monitor)
        except BaseException as error:  # noqa: BLE001 - re-raised in `run`
            self._post(self._fail, error)
        else:
            self._post(self.done.set_result, result)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self.done.set_exception(error)
        else:
            self.done.cancel()

    def _post(self, callback: Callable[..., None], value: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, value)
        except RuntimeError:
            return  # The loop is closed: nothing waits for the result.


class _Worker:
    def __init__(self) -> None:
        self.queue: SimpleQueue[_Task[Any] | None] = SimpleQueue()
        Thread(target=self._run, name="create-jobs", daemon=True).start()

    def _run(self) -> None:
        while (task := self.queue.get()) is not None:
            task.run()
            del task


async def _wait(task: _Task[T], step_limit: float) -> None:
    remaining = step_limit
    while True:
        await asyncio.wait((task.done,), timeout=remaining)
        if task.done.done():
            return
        remaining, step = task.monitor.remaining(step_limit)
        if remaining <= 0:
            raise StepTimeout(step)
