"""One service process: started, listened to, started again when it dies, stopped."""

from __future__ import annotations

import asyncio
import contextlib
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
from spincycle.runtime.backoff import Backoff

Show = Callable[[str, str], None]
"""Shows a line of a service: its name and the text."""

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 10.0
_STEADY = 30.0
_POLL = 0.03
_LONGEST_LINE = 64 * 1024


class Supervised:
    """A service and the process that is it at the moment.

    A process that dies once it has been ready is started again, sooner at first and later
    if it keeps dying, unless it was killed or stopped here.
    """

    def __init__(
        self, service: Service, environment: Mapping[str, str], show: Show, *, again: bool
    ) -> None:
        self.service = service
        self._environment = {**environment, **service.environment}
        self._show = show
        self._again = again
        self._process: Process | None = None
        self._run: asyncio.Task[None] | None = None
        self._ready = False
        self._wanted = False
        self._last_lines: deque[str] = deque(maxlen=20)

    @property
    def pid(self) -> int:
        """Process id of the process, dead or alive, that was started last."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process; without effect if the service is up."""
        if self._run is None or self._run.done():
            self._wanted = True
            self._ready = False
            self._process = self._spawn()
            self._run = asyncio.create_task(self._supervise(self._process))

    async def until_ready(self, timeout: float) -> None:
        """Wait until the service answers that it is serving.

        Raises:
            StackError: it has ended, or does not answer in time.
        """
        deadline = time.monotonic() + timeout
        while not await is_ready(self.service):
            if self._run is None or self._run.done():
                raise StackError(f"{self._ending()}; its last lines:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{self.service.name} (process {self.pid}) does not become ready at "
                    f"{self.service.address}; its last lines:\n{self._tail()}"
                )
            await asyncio.sleep(_POLL)
        self._ready = True

    async def stop(self, patience: float) -> None:
        """Ask the process to end, kill it after `patience` seconds, and keep it down."""
        await self._end([(signal.SIGTERM, patience), (signal.SIGKILL, 10.0)])

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Take the process away, and keep it down until the next `start`."""
        await self._end([(number, 30.0)])

    def kill_now(self) -> None:
        """Kill the process without waiting for its end."""
        self._wanted = False
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    async def _end(self, signals: list[tuple[signal.Signals, float]]) -> None:
        self._wanted = False
        if self._run is None or self._process is None:
            return
        if self._process.poll() is None:
            await send_until_gone(self._process.pid, signals)
        elif not self._run.done():
            # Between two lives: there is only a wait to end.
            self._run.cancel()
        await asyncio.wait([self._run])

    async def _supervise(self, process: Process) -> None:
        # One supervisor restarts its own processes: there is nothing to spread by jitter.
        backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT, jitter=0.0)
        while True:
            started = time.monotonic()
            code = await self._listen(process)
            if not self._wanted:
                return
            if not (self._again and self._ready):
                self._show(self.service.name, ending(code))
                return
            if time.monotonic() - started > _STEADY:
                backoff.reset()
            wait = backoff.next()
            self._show(self.service.name, f"{ending(code)}; starting it again in {wait:g} s")
            await asyncio.sleep(wait)
            self._process = process = self._spawn()

    def _spawn(self) -> Process:
        program = Path(sysconfig.get_path("scripts"), self.service.program)
        try:
            return subprocess.Popen(  # noqa: S603 # a program of this installation
                [program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                # Out of the terminal's reach: Ctrl-C is for the supervisor alone.
                start_new_session=True,
            )
        except OSError as error:
            raise StackError(f"cannot start {program}: {error.strerror}")

    async def _listen(self, process: Process) -> int:
        """Show what the process writes until it ends; answer its exit code."""
        reader = asyncio.StreamReader()
        assert process.stdout is not None
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
        )
        relay = asyncio.create_task(self._relay(reader))
        try:
            code = await until_ended(process)
            # Not until the end of the file: a process that a job left may have the pipe too.
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
                self._tell(line)
        if rest:
            self._tell(rest)

    def _tell(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        self._last_lines.append(text)
        self._show(self.service.name, text)

    def _tail(self) -> str:
        return "\n".join(f"  {line}" for line in self._last_lines) or "  (none)"

    def _ending(self) -> str:
        assert self._process is not None
        return f"{self.service.name} {ending(self._process.wait())}"


def ending(code: int) -> str:
    """How a process ended, for people: by its exit code, or by a signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"
