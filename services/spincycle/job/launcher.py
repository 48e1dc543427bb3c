"""The launcher of programs: a process that starts them in place of the job runner.

A program that the job runner itself started could inherit its descriptors and would outlive it. The
launcher is a small process without descriptors, which reaps the programs and ends them when the
runner dies, so that a recovered try does not run beside the program of the lost one.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from spincycle.job import launcher_process
from spincycle.job.errors import LauncherLost
from spincycle.job.launcher_connection import LaunchedProgram, LauncherConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

START_TIMEOUT = 30.0
"""Seconds that the launcher may take to start a program before it is replaced."""

RESTART_DELAY = 0.2
"""Seconds between the end of a launcher and the start of the next one."""

END_TIMEOUT = 5.0
"""Maximum seconds to wait for the end of a launcher that was killed."""

SHUTDOWN_TIMEOUT = 1.0
"""Seconds to wait at shutdown for the end of the launcher; it ends its programs by itself."""

_MAX_STARTING = 64
"""Most starts that the launcher has not acknowledged: the kernel limits descriptors in transit."""


class Launcher:
    """A launcher process, replaced when it ends."""

    def __init__(self) -> None:
        """Start the process.

        Raises:
            OSError: it cannot be started.
        """
        self._endpoint: _Endpoint | None = _Endpoint()
        self._connection: LauncherConnection | None = None
        self._connected = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = asyncio.Semaphore(_MAX_STARTING)

    @property
    def pid(self) -> int:
        """Process id of the launcher; only while it runs."""
        assert self._endpoint is not None
        return self._endpoint.process.pid

    def serves(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether `run` runs on this event loop."""
        return self._loop is loop

    async def run(self, on_lost: Callable[[int], object] = lambda _: None) -> None:
        """Serve until cancelled; then the launcher ends the programs that still run.

        Args:
            on_lost: called with the exit code of each launcher that ended, or -N for signal N.

        Raises:
            OSError: a new launcher cannot be started; `run` may be called again.
        """
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                self._endpoint = self._endpoint or _Endpoint()
                on_lost(await self._serve(self._endpoint, self._loop))
                await asyncio.sleep(RESTART_DELAY)
        finally:
            self._loop = None

    async def _serve(self, endpoint: _Endpoint, loop: asyncio.AbstractEventLoop) -> int:
        """Serve until the process has ended; return its exit code."""
        self._connection = connection = LauncherConnection(endpoint.sock, loop)
        self._connected.set()
        patience = END_TIMEOUT
        try:
            await connection.until_lost()
            endpoint.process.kill()
        except asyncio.CancelledError:
            patience = SHUTDOWN_TIMEOUT
            raise
        finally:
            self._connected.clear()
            connection.close()
            self._connection = self._endpoint = None
            endpoint.sock.close()
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(endpoint.process.wait, patience)
        return endpoint.process.poll() or 0

    async def start(
        self,
        argv: Sequence[str],
        stdout: int,
        stderr: int,
        environment: Mapping[str, str],
        directory: str | None,
    ) -> LaunchedProgram:
        """Start a program.

        Raises:
            OSError, ValueError, LauncherLost: as `start_program`.
        """
        keys = {
            "argv": [_text(word) for word in argv],
            "environment": {_text(name): _text(environment[name]) for name in environment},
            "directory": None if directory is None else _text(directory),
        }
        async with self._starting:
            connection = None
            try:
                async with asyncio.timeout(START_TIMEOUT) as limit:
                    while (connection := self._connection) is None:
                        await self._connected.wait()
                    return await connection.start(argv[0], keys, stdout, stderr)
            except TimeoutError:
                if not limit.expired():
                    # Error ETIMEDOUT of the start.
                    raise
                if connection is not None:
                    connection.lose()
                raise LauncherLost(argv[0])

    def close_in_child(self) -> None:
        """Close this end of the socket in a forked child."""
        if self._endpoint is not None:
            self._endpoint.sock.close()


class _Endpoint:
    """A launcher process and this end of its socket."""

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(0)
        isolated = (sys.executable, "-I", "-S", "-X", "utf8", launcher_process.__file__)
        try:
            self.process = subprocess.Popen(  # noqa: S603 # a file of this package
                [*isolated, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            self.sock.close()
            raise
        finally:
            theirs.close()


_installed: Launcher | None = None


def install(launcher: Launcher | None) -> None:
    """Let `start_program` use a launcher, or none."""
    global _installed  # noqa: PLW0603 # jobs are created without references to the runner's parts
    _installed = launcher


def installed() -> Launcher | None:
    """Return the launcher that `start_program` uses."""
    return _installed


def _close_in_child() -> None:
    if _installed is not None:
        _installed.close_in_child()


os.register_at_fork(after_in_child=_close_in_child)


def _text(word: str) -> str:
    """Return a text that the launcher encodes to the bytes that the system has for `word`."""
    return os.fsencode(word).decode("utf-8", "surrogateescape")
