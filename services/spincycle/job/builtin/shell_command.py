"""The job type shell-command: runs a program, without a shell."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from spincycle.job.current_job import CURRENT_JOB
from spincycle.job.errors import ArgNotSet, LauncherLost, WrongArgType
from spincycle.job.job import Job, Return
from spincycle.job.program import start_program
from spincycle.job.try_output import STDERR, STDOUT
from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.job.program import Program
    from spincycle.model.job_chain import Value

KILL_AFTER = 5.0
"""Seconds between SIGTERM and SIGKILL when a program is stopped."""

OUTPUT_GRACE = 1.0
"""Seconds to wait for a program's output to be closed after its end: a child may hold it open."""


class ShellCommand(Job):
    """Runs `cmd` with `args`: a list, or a string that is split on white space."""

    creates_immediately = True

    def __init__(self) -> None:
        self._command: list[str] = []
        self._status = "ready to run"
        self._stop = asyncio.Event()
        self._terminated = False

    def create(self, args: dict[str, Value]) -> None:
        """Read `cmd` and `args`."""
        command = args.get("cmd")
        if command is None:
            raise ArgNotSet("cmd")
        if not isinstance(command, str):
            raise WrongArgType("cmd", type(command).__name__, "str")
        self._command = [command, *_split(args.get("args"))]

    def serialize(self) -> bytes:
        """Encode the command line."""
        command, *arguments = self._command
        line = {"cmd": command, **({"args": arguments} if arguments else {})}
        return json.dumps(line, separators=(",", ":")).encode()

    def deserialize(self, data: bytes) -> None:
        """Decode the command line."""
        line = json.loads(data)
        self._command = [line["cmd"], *(line.get("args") or [])]

    async def run(self, data: dict[str, Value]) -> Return:  # noqa: ARG002 - uses no job data
        """Run the program; COMPLETE if its exit code is 0.

        It runs in a new process group, so that a stop also ends the processes that it started.
        """
        if self._stop.is_set():
            return Return(State.STOPPED)
        if CURRENT_JOB.get() is not self:
            self.output = None  # Without a runner each call begins a try.
        out = _Capture(lambda data: self.prints(stdout=data))
        err = _Capture(lambda data: self.prints(stderr=data))
        try:
            await out.open()
            await err.open()
            program = await start_program(self._command, stdout=out.write_end, stderr=err.write_end)
        except BaseException as failure:
            out.abandon()
            err.abandon()
            if isinstance(failure, LauncherLost | OSError | ValueError):
                return self._not_started(failure)
            raise
        self._status = "running " + " ".join(self._command)
        try:
            out.close_write_end()
            err.close_write_end()
            error = ""
            try:
                code = await self._wait(program)
            except LauncherLost as lost:
                code, error = -signal.SIGKILL, str(lost)
            with suppress(TimeoutError):
                async with asyncio.timeout(OUTPUT_GRACE):
                    await out.closed
                    await err.closed
        finally:
            out.abandon()
            err.abandon()
            if program.running:
                program.signal(signal.SIGKILL)
                with suppress(LauncherLost):
                    await program.wait()
        self._status = "done running " + " ".join(self._command)
        return self._outcome(code, error, self._printed(STDOUT), self._printed(STDERR))

    async def stop(self) -> None:
        """Send SIGTERM to the process group, then SIGKILL after KILL_AFTER seconds."""
        self._stop.set()

    def status(self) -> str:
        """Return the command line and whether it is running."""
        return self._status

    async def _wait(self, program: Program) -> int:
        ended = asyncio.ensure_future(program.wait())
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                self._terminated = True
                program.signal(signal.SIGTERM)
                await asyncio.wait({ended}, timeout=KILL_AFTER)
                program.signal(signal.SIGKILL)
            return await ended
        finally:
            ended.cancel()
            stopped.cancel()

    def _printed(self, stream: int) -> str:
        return "" if self.output is None else self.output.text(stream)

    def _not_started(self, failure: LauncherLost | OSError | ValueError) -> Return:
        code = 127 if isinstance(failure, FileNotFoundError) else 126
        reason = getattr(failure, "strerror", None) or str(failure)
        return Return(State.FAIL, exit=code, error=f"cannot run {self._command[0]}: {reason}")

    def _outcome(self, code: int, error: str, stdout: str, stderr: str) -> Return:
        exit_code = code if code >= 0 else 128 - code
        if self._terminated:
            return Return(State.STOPPED, exit_code, "", stdout, stderr)
        if code == 0:
            return Return(State.COMPLETE, 0, "", stdout, stderr)
        reason = f"exit status {code}" if code > 0 else f"signal: {signal.strsignal(-code)}"
        return Return(State.FAIL, exit_code, error or reason, stdout, stderr)


class _Capture(asyncio.Protocol):
    """Reads one output stream of the program continuously, so that the program never blocks."""

    def __init__(self, show: Callable[[bytes], None]) -> None:
        self._show = show
        self._transport: asyncio.ReadTransport | None = None
        self.write_end = -1
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        read_end, self.write_end = os.pipe()
        reader = os.fdopen(read_end, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: self, reader)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._show(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason does not matter
        if not self.closed.done():
            self.closed.set_result(None)

    def close_write_end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def abandon(self) -> None:
        self.close_write_end()
        if self._transport is not None:
            self._transport.close()


def _split(arguments: Value) -> list[str]:
    if arguments is None:
        return []
    if isinstance(arguments, str):
        return arguments.split()
    if not isinstance(arguments, list):
        raise WrongArgType("args", type(arguments).__name__, "str or list")
    for argument in arguments:
        if argument is None or isinstance(argument, list | dict):
            raise WrongArgType("args", f"list with {type(argument).__name__}", "list of str")
    return [str(argument) for argument in arguments]
