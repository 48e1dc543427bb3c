"""Starts programs for jobs, by the launcher if one is installed."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from spincycle.job.launcher import installed

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence


class Program(Protocol):
    """A started program, the leader of its own session and process group."""

    @property
    def running(self) -> bool:
        """Whether its end has not been noticed yet."""

    async def wait(self) -> int:
        """Wait for its end; return its exit code, or -N for signal N.

        Raises:
            LauncherLost: the launcher ended, and the program was killed.
        """

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group.

        When the program ends after that, so does the rest of its group.
        """


async def start_program(
    argv: Sequence[str],
    *,
    stdout: int,
    stderr: int,
    environment: Mapping[str, str] | None = None,
    directory: str | None = None,
) -> Program:
    """Start a program with an empty standard input.

    Args:
        argv: the program, which is searched in PATH, and its arguments.
        stdout: descriptor; the caller may close its own afterwards.
        stderr: likewise.
        environment: by default that of this process.
        directory: its working directory, by default the one in which this process was started.

    Raises:
        OSError: the program cannot be started.
        ValueError: an argument contains a null character.
        LauncherLost: the launcher ended, or did not respond.
    """
    launcher = installed()
    if launcher is not None and launcher.serves(asyncio.get_running_loop()):
        variables = os.environ if environment is None else environment
        return await launcher.start(argv, stdout, stderr, variables, directory)
    return _OwnChild(
        await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )
    )


class _OwnChild:
    """A program that is a child of this process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        return await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
