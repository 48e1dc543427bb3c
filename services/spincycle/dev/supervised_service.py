"""Supervises the process of one service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sysconfig
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from spincycle.dev.child import Process, send_until_gone, until_ended
from spincycle.dev.errors import StackError
from spincycle.dev.ready import is_ready
from spincycle.dev.services import Service
from spincycle.dev.stack_processes import MARK, stack_argument
from spincycle.runtime.backoff import Backoff

Show = Callable[[str, str], None]
"""Prints a line of a service, given its name and the text."""

_SHORTEST_DELAY = 0.5
_LONGEST_DELAY = 10.0
_STEADY_AFTER = 30.0
_POLL_INTERVAL = 0.03
_LONGEST_LINE = 64 * 1024


class SupervisedService:
    """Starts, restarts and stops the process of a service.

    A process that dies after it was ready is restarted with exponential backoff, unless it was
    killed or stopped here.
    """

    def __init__(
        self, service: Service, environment: Mapping[str, str], show: Show, *, restarts: bool
    ) -> None:
        self.service = service
        variables = {**environment, **service.environment}
        configuration = service.configuration
        self._environment = (
            configuration.without_variables(variables) if configuration else variables
        )
        self._show = show
        self._restarts = restarts
        self._process: Process | None = None
        self._run: asyncio.Task[None] | None = None
        self._ready = False
        self._should_run = False
        self._last_lines: deque[str] = deque(maxlen=20)

    @property
    def pid(self) -> int:
        """Id of the process started last, running or not."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process; no effect if the service is up."""
        if self._run is None or self._run.done():
            self._should_run = True
            self._ready = False
            self._process = self._spawn()
            self._run = asyncio.create_task(self._supervise(self._process))

    async def until_ready(self, timeout: float) -> None:
        """Wait until the service is ready.

        Raises:
            StackError: the process ended, or did not become ready in time.
        """
        deadline = time.monotonic() + timeout
        while not await is_ready(self.service):
            if self._run is None or self._run.done():
                raise StackError(f"{self._exit_text()}; its last lines:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{self.service.name} (process {self.pid}) did not become ready at "
                    f"{self.service.address}; its last lines:\n{self._tail()}"
                )
            await asyncio.sleep(_POLL_INTERVAL)
        self._ready = True

    async def stop(self, timeout: float) -> None:
        """Send SIGTERM, and SIGKILL after `timeout` seconds; the service stays down."""
        await self._end([(signal.SIGTERM, timeout), (signal.SIGKILL, 10.0)])

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Kill the process; the service stays down until `start`."""
        await self._end([(number, 30.0)])

    def kill_now(self) -> None:
        """Send SIGKILL without waiting for the end of the process."""
        self._should_run = False
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    async def _end(self, signals: list[tuple[signal.Signals, float]]) -> None:
        self._should_run = False
        if self._run is None or self._process is None:
            return
        if self._process.poll() is None:
            await send_until_gone(self._process.pid, signals)
        elif not self._run.done():
            # Waiting for the restart delay.
            self._run.cancel()
        await asyncio.wait([self._run])

    async def _supervise(self, process: Process) -> None:
        # One supervisor restarts its own processes: there is nothing to spread by jitter.
        backoff = Backoff(_SHORTEST_DELAY, _LONGEST_DELAY, jitter=0.0)
        while True:
            started = time.monotonic()
            code = await self._run_to_end(process)
            if not self._should_run:
                return
            if not (self._restarts and self._ready):
                self._show(self.service.name, exit_text(code))
                return
            if time.monotonic() - started > _STEADY_AFTER:
                backoff.reset()
            delay = backoff.next()
            self._show(self.service.name, f"{exit_text(code)}; restarting in {delay:g} s")
            await asyncio.sleep(delay)
            self._process = process = self._spawn()

    def _spawn(self) -> Process:
        program = Path(sysconfig.get_path("scripts"), self.service.program)
        command: list[str | Path] = [program]
        configuration = self.service.configuration
        try:
            passed = [] if configuration is None else [configuration.open(self.service.name)]
            command += [f"--config=/dev/fd/{descriptor}" for descriptor in passed]
            if passed:
                command.append(stack_argument(self._environment[MARK]))
            try:
                return subprocess.Popen(  # noqa: S603 # a program of this installation
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    pass_fds=passed,
                    # A new session, so that Ctrl-C reaches the supervisor only.
                    start_new_session=True,
                )
            finally:
                for descriptor in passed:
                    os.close(descriptor)
        except OSError as error:
            raise StackError(f"cannot start {program}: {error.strerror}")

    async def _run_to_end(self, process: Process) -> int:
        """Print the output of the process until it ends, and return its exit code."""
        reader = asyncio.StreamReader()
        assert process.stdout is not None
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
        )
        relay = asyncio.create_task(self._relay(reader))
        try:
            code = await until_ended(process)
            # Not until the end of file: a process started by a job may hold the pipe open.
            await asyncio.wait([relay], timeout=0.2)
            return code
        finally:
            relay.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await relay
            transport.close()

    async def _relay(self, reader: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await reader.read(_LONGEST_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._write_line(line)
        if rest:
            self._write_line(rest)

    def _write_line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        self._last_lines.append(text)
        self._show(self.service.name, text)

    def _tail(self) -> str:
        return "\n".join(f"  {line}" for line in self._last_lines) or "  (none)"

    def _exit_text(self) -> str:
        assert self._process is not None
        return f"{self.service.name} {exit_text(self._process.wait())}"


def exit_text(code: int) -> str:
    """Describe the end of a process: its exit code, or the signal that killed it."""
    if code >= 0:
        return f"exited with code {code}"
    return f"was killed by {signal.Signals(-code).name}"
