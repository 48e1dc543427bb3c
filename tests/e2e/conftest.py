from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sysconfig
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest
from tests.postgres_fixtures import database, postgres

from spincycle.dev.stack_processes import end_processes

__all__ = ["database", "postgres"]

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))

_PATIENCE = 60.0


class Command:
    """A command of ours that runs in the checkout, as a person would start it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.output = ""

    @classmethod
    async def start(
        cls,
        *words: str | Path,
        home: Path,
        cwd: Path = REPOSITORY,
        before: Sequence[str] = (),
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Command:
        """Start it with an empty home directory; its two streams are one.

        `before` are words in front of the command, `variables` are added to the environment.
        """
        environment = {name: os.environ[name] for name in os.environ if name != "XDG_DATA_HOME"}
        process = await asyncio.create_subprocess_exec(
            *before,
            SCRIPTS / "spincycle",
            *words,
            cwd=cwd,
            env={**environment, "HOME": str(home), **variables},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def until(self, text: str) -> None:
        """Wait until it has written `text`."""
        assert self._process.stdout is not None
        async with asyncio.timeout(_PATIENCE):
            while text not in self.output:
                line = await self._process.stdout.readline()
                assert line, f"ended without saying {text!r}:\n{self.output}"
                self.output += line.decode()

    def address(self, name: str) -> str:
        """host:port of what it has said to have started."""
        found = re.search(rf"^ +{name} +(?:http://)?([\d.]+:\d+)", self.output, re.MULTILINE)
        assert found, self.output
        return found[1]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def end(self) -> None:
        """Ask it to end, and wait until it has."""
        if self._process.returncode is None:
            self.signal(signal.SIGTERM)
        await self.ended()

    async def ended(self) -> int:
        """Wait for its end; answer its exit code."""
        async with asyncio.timeout(_PATIENCE):
            rest, _ = await self._process.communicate()
        self.output += rest.decode()
        code = self._process.returncode
        assert code is not None
        return code


@contextmanager
def empty_home() -> Iterator[Path]:
    """An empty directory that any account may enter; processes of a stack there are ended."""
    directory = Path(tempfile.mkdtemp(prefix="spincycle-test-"))
    directory.chmod(0o755)
    yield directory
    end_processes(directory / "data", 0.0)
    shutil.rmtree(directory)


@pytest.fixture
def home() -> Iterator[Path]:
    with empty_home() as directory:
        yield directory


@pytest.fixture
async def dev(home: Path) -> AsyncIterator[Command]:
    """`spincycle dev` on free ports, up, with its data in `home / "data"`."""
    command = await start_dev(home)
    yield command
    await command.end()


async def start_dev(
    home: Path,
    *options: str,
    cwd: Path = REPOSITORY,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Command:
    words: list[str | Path] = ["dev", "--data", home / "data", "--free-ports", *options]
    command = await Command.start(*words, home=home, cwd=cwd, variables=variables)
    await command.until("Ctrl-C to stop everything")
    return command
