"""Jobs that leave a mark when they start and when they end."""

from __future__ import annotations

import asyncio
import logging
import random
import subprocess
import sys
import threading
import time
import warnings

import structlog
from tests.chaos.marks import END, START, STOPPED, leave_mark

from spincycle.job import Job, JobTypes, Return, State, Value

jobs = JobTypes()

_FAILS = 0.25


class _Marking(Job):
    def create(self, args: dict[str, Value]) -> None:
        self._ms = int(str(args["ms"]))

    def serialize(self) -> bytes:
        return str(self._ms).encode()

    def deserialize(self, data: bytes) -> None:
        self._ms = int(data)
        self._stop_requested = asyncio.Event()

    async def run(self, data: dict[str, Value]) -> Return:
        leave_mark(START, self.id)
        try:
            async with asyncio.timeout(self._seconds()):
                await self._stop_requested.wait()
        except TimeoutError:
            leave_mark(END, self.id)
            return self._end(data)
        leave_mark(STOPPED, self.id)
        return Return(State.STOPPED)

    async def stop(self) -> None:
        self._stop_requested.set()

    def _seconds(self) -> float:
        return self._ms / 1000 * random.uniform(0.2, 1.8)

    def _end(self, data: dict[str, Value]) -> Return:
        data[self.id.name] = self.id.id
        return Return(State.COMPLETE, stdout=self.id.name)


@jobs.register("mark")
class MarkJob(_Marking):
    """Takes its time and completes."""


@jobs.register("mark-once", interruption="fail")
class MarkOnceJob(_Marking):
    """A job that must not run a second time if nobody knows whether the first one ended."""


@jobs.register("mark-flaky")
class MarkFlakyJob(_Marking):
    """Fails now and then."""

    def _end(self, data: dict[str, Value]) -> Return:
        if random.random() < _FAILS:
            return Return(State.FAIL, exit=1, error="as it does now and then")
        return super()._end(data)


@jobs.register("mark-deaf")
class MarkDeafJob(_Marking):
    """Ignores that it is to stop."""

    async def stop(self) -> None:
        return


@jobs.register("mark-on-thread")
class MarkOnThreadJob(Job):
    """Blocks."""

    def create(self, args: dict[str, Value]) -> None:
        self._ms = int(str(args["ms"]))

    def serialize(self) -> bytes:
        return str(self._ms).encode()

    def deserialize(self, data: bytes) -> None:
        self._ms = int(data)
        self._stop_requested = threading.Event()

    def run(self, data: dict[str, Value]) -> Return:
        leave_mark(START, self.id)
        until = time.monotonic() + self._ms / 1000
        if self._stop_requested.wait(until - time.monotonic()):
            leave_mark(STOPPED, self.id)
            return Return(State.STOPPED)
        leave_mark(END, self.id)
        return Return(State.COMPLETE)

    def stop(self) -> None:
        self._stop_requested.set()


_log = logging.getLogger(__name__)
_structured = structlog.get_logger(__name__)
_kept_stdout = sys.stdout
"""The stream as a module has it that was imported early."""


@jobs.register("print-each-way")
class PrintEachWayJob(Job):
    """Prints in each way that a job has, and waits until it is stopped."""

    def __init__(self) -> None:
        self._stop_requested = asyncio.Event()

    async def run(self, data: dict[str, Value]) -> Return:
        print("by print", flush=True)
        _kept_stdout.write("by a kept stream\n")
        sys.stderr.buffer.write(b"by bytes\n")
        await asyncio.to_thread(print, "by a thread")
        child = await asyncio.create_subprocess_exec(
            "sh", "-c", "echo by a child", stdout=asyncio.subprocess.PIPE
        )
        self.prints((await child.communicate())[0])
        warnings.warn("by warn", UserWarning, stacklevel=1)
        _log.info("by logging")
        _log.warning("by a logged warning")
        _structured.info("by structlog")
        await self._stop_requested.wait()
        print("at last")
        return Return(State.STOPPED)

    async def stop(self) -> None:
        self._stop_requested.set()


@jobs.register("block-loop")
class BlockLoopJob(_Marking):
    """Blocks the event loop, as no job may."""

    async def run(self, data: dict[str, Value]) -> Return:
        leave_mark(START, self.id)
        time.sleep(self._ms / 1000)  # noqa: ASYNC251 # what the tests are about
        leave_mark(END, self.id)
        return Return(State.COMPLETE)


@jobs.register("block-loop-forever", interruption="fail")
class BlockLoopForeverJob(_Marking):
    """Starts a process and blocks the event loop until its runner ends."""

    async def run(self, data: dict[str, Value]) -> Return:
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)  # noqa: ASYNC220 # as above
        leave_mark(f"child-{child.pid}", self.id)
        threading.Event().wait()
        return Return(State.COMPLETE)
