"""The client programs, and how a test runs one."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "clients"

_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """One way to call Spin Cycle."""

    name: str
    command: tuple[str | Path, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


PROGRAMS = [
    Program("python-asyncio", (sys.executable, EXAMPLES / "python" / "asyncio_client.py")),
    Program("python-blocking", (sys.executable, EXAMPLES / "python" / "blocking_client.py")),
    Program("node", ("node", EXAMPLES / "node" / "build" / "main.js")),
    Program(
        "go",
        (EXAMPLES / "go" / "build" / "spincycle-client",),
        # gRPC for Go has followed retry policies by default since its version 1.40.
        {"GRPC_GO_RETRY": "on"},
    ),
]

every_program = pytest.mark.parametrize(
    "program",
    [
        pytest.param(
            program,
            id=program.name,
            # What `make test-clients` has to install and build first.
            marks=[] if program.name.startswith("python") else pytest.mark.built,
        )
        for program in PROGRAMS
    ],
)


class Run:
    """A program that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.stdout = ""
        self.stderr = ""
        self._line_received = asyncio.Event()
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = asyncio.gather(
            self._read(process.stdout, "stdout"), self._read(process.stderr, "stderr")
        )

    @classmethod
    async def start(cls, program: Program, *words: str, **variables: str) -> Run:
        """Start a program with the words on its command line."""
        process = await asyncio.create_subprocess_exec(
            *program.command,
            *words,
            env={**os.environ, **program.environment, **variables},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return cls(process)

    @property
    def lines(self) -> list[str]:
        """What it has written to standard output."""
        return self.stdout.splitlines()

    async def until(self, holds: Callable[[Run], object]) -> None:
        """Wait until what it has written is as wanted."""
        async with asyncio.timeout(_PATIENCE):
            while not holds(self):
                assert not self._readers.done(), repr(self)
                self._line_received.clear()
                await self._line_received.wait()

    async def until_says(self, text: str) -> None:
        """Wait until it has written the text to standard output."""
        await self.until(lambda run: text in run.stdout)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    async def ended(self) -> int:
        """Wait for its end; answer its exit code."""
        async with asyncio.timeout(_PATIENCE):
            await self._readers
            return await self._process.wait()

    async def end(self) -> None:
        """End it, if it has not ended."""
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()

    def __repr__(self) -> str:
        return f"stdout:\n{self.stdout}\nstderr:\n{self.stderr}"

    async def _read(self, stream: asyncio.StreamReader, name: str) -> None:
        while line := await stream.readline():
            setattr(self, name, getattr(self, name) + line.decode())
            self._line_received.set()
        asyncio.get_running_loop().call_soon(self._line_received.set)
