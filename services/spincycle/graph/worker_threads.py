"""Threads for work that may hang: a thread that does not come back is given up."""

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


class GivenUp(BaseException):
    """The work was given up: end it. Not an Exception, so that user code does not catch it."""


class TookTooLong(Exception):
    """A step of the work did not end in time."""

    def __init__(self, step: object) -> None:
        self.step = step
        super().__init__(f"{step} did not end in time")


class CannotWait(Exception):
    """It waits, although its class says that it does not."""

    def __init__(self) -> None:
        super().__init__("it waits, although its class says creates_immediately")


class WorkWatch:
    """What a piece of work and its watcher tell each other.

    The work names each step that may hang; the watcher sees how long that has taken.

    Args:
        loop: where awaitables of the work run; None for work that runs on a loop itself, where
            nobody watches it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self._step: tuple[float, object] | None = None
        self._given_up = False
        self._awaited: Future[object] | None = None

    def begin(self, step: object) -> None:
        """Begin a step that may hang.

        Raises:
            GivenUp: nobody waits for the work any more.
        """
        if self._given_up:
            raise GivenUp
        self._step = (time.monotonic(), step)

    def end(self) -> None:
        """End the step.

        Raises:
            GivenUp: nobody waits for the work any more.
        """
        self._step = None
        if self._given_up:
            raise GivenUp

    def wait_for(self, awaitable: Awaitable[object]) -> None:
        """Run an awaitable on the watcher's event loop, and block until it is done.

        Raises:
            CannotWait: there is nobody who watches.
        """

        async def run() -> object:
            return await awaitable

        if self._loop is None:
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise CannotWait
        self._awaited = asyncio.run_coroutine_threadsafe(run(), self._loop)
        if self._given_up:
            self._awaited.cancel()
        self._awaited.result()
        self._awaited = None

    def give_up(self) -> None:
        """Have the work end at its next step."""
        self._given_up = True
        if self._awaited is not None:
            self._awaited.cancel()

    def overdue(self, limit: float) -> tuple[float, object]:
        """Seconds that the current step still has, and the step."""
        step = self._step
        if step is None:
            return limit, None
        return step[0] + limit - time.monotonic(), step[1]


class WorkerThreads:
    """Runs blocking work, each piece on one thread, a bounded number at a time.

    A hanging thread cannot be ended from outside. It is left behind, and another takes its
    place, up to a limit.

    Attributes:
        left_behind: threads that have not come back so far.
    """

    def __init__(self, limit: int = 32, left_behind_limit: int = 64) -> None:
        self._turns = asyncio.Semaphore(limit)
        self._left_behind_limit = left_behind_limit
        self.left_behind = 0
        self._idle: list[_Worker] = []

    async def run(self, work: Callable[[WorkWatch], T], step_limit: float) -> T:
        """The result of `work`.

        Raises:
            TookTooLong: a step that the work named took more than `step_limit` seconds.
            CreateStuck: too many threads were left behind.
        """
        if self.left_behind >= self._left_behind_limit:
            raise CreateStuck(self.left_behind)
        loop = asyncio.get_running_loop()
        async with self._turns:
            worker = self._idle.pop() if self._idle else _Worker()
            task = _Task(work, WorkWatch(loop), loop)
            worker.queue.put(task)
            try:
                await _watch(task, step_limit)
            except BaseException:
                self._leave(worker, task)
                raise
            self._idle.append(worker)
            return task.done.result()

    def close(self) -> None:
        """End the threads that do nothing."""
        for worker in self._idle:
            worker.queue.put(None)
        self._idle.clear()

    def _leave(self, worker: _Worker, task: _Task[T]) -> None:
        task.watch.give_up()
        worker.queue.put(None)
        self.left_behind += 1
        task.done.add_done_callback(self._came_back)

    def _came_back(self, done: asyncio.Future[Any]) -> None:
        self.left_behind -= 1
        if not done.cancelled():
            done.exception()


class _Task(Generic[T]):
    def __init__(
        self, work: Callable[[WorkWatch], T], watch: WorkWatch, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.watch = watch
        self.done: asyncio.Future[T] = loop.create_future()
        self._work = work
        self._loop = loop

    def run(self) -> None:
        try:
            result = self._work(self.watch)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the work gets it
            self._tell(self._fail, error)
        else:
            self._tell(self.done.set_result, result)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self.done.set_exception(error)
        else:
            self.done.cancel()

    def _tell(self, act: Callable[..., None], value: object) -> None:
        try:
            self._loop.call_soon_threadsafe(act, value)
        except RuntimeError:
            return  # The loop is closed: there is nobody left to tell.


class _Worker:
    def __init__(self) -> None:
        self.queue: SimpleQueue[_Task[Any] | None] = SimpleQueue()
        Thread(target=self._run, name="create-jobs", daemon=True).start()

    def _run(self) -> None:
        while (task := self.queue.get()) is not None:
            task.run()
            del task


async def _watch(task: _Task[T], step_limit: float) -> None:
    left = step_limit
    while True:
        await asyncio.wait((task.done,), timeout=left)
        if task.done.done():
            return
        left, step = task.watch.overdue(step_limit)
        if left <= 0:
            raise TookTooLong(step)
