"""A new virtual environment with the wheel, outside any checkout."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

_READY = "Press Ctrl-C to stop everything"
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 30.0


class Environment:
    """A virtual environment below `root`, with a home directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scripts = root / "venv" / "bin"
        self._home = root / "home"

    @classmethod
    def create(cls, root: Path, *requirements: str) -> Environment:
        """Make the environment and install the requirements from the package index."""
        environment = cls(root)
        environment._home.mkdir()
        environment._check([sys.executable, "-m", "venv", str(root / "venv")])
        pip = [str(environment.scripts / "python"), "-m", "pip", "install", "--quiet"]
        environment._check([*pip, *requirements])
        return environment

    @property
    def variables(self) -> dict[str, str]:
        """What a shell in which the environment is active exports; nothing of this process's."""
        foreign = ("PYTEST_", "PYTHON", "COVERAGE_", "SPINC", "VIRTUAL_ENV", "MYPYPATH", "XDG_")
        own = {name: os.environ[name] for name in os.environ if not name.startswith(foreign)}
        path = f"{self.scripts}{os.pathsep}/usr/bin{os.pathsep}/bin"
        return {**own, "HOME": str(self._home), "PATH": path}

    def run(
        self,
        *command: str,
        cwd: Path | None = None,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.CompletedProcess[str]:
        """Run a program that the environment's PATH has, to its end."""
        return subprocess.run(
            ["/usr/bin/env", *command],
            check=False,
            cwd=cwd or self.root,
            env={**self.variables, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    @contextmanager
    def dev(self, *options: str, cwd: Path | None = None) -> Iterator[dict[str, str]]:
        """Have `spincycle dev` up on free ports; yield what spinc needs in its environment."""
        command = ["/usr/bin/env", "spincycle", "dev", "--free-ports", *options]
        process = subprocess.Popen(
            command,
            cwd=cwd or self.root,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            output = _output_until(process, _READY)
            yield {
                "SPINC_ADDR": _address(output, "request-manager"),
                "SPINC_JOB_LOG": _address(output, "job-log"),
            }
        finally:
            process.terminate()
            process.communicate(timeout=_STOP_TIMEOUT)

    def _check(self, command: list[str]) -> None:
        result = self.run(*command)
        assert result.returncode == 0, result.stdout


def _output_until(process: subprocess.Popen[bytes], text: str) -> str:
    """Read what a process writes up to a text."""
    assert process.stdout is not None
    deadline = time.monotonic() + _START_TIMEOUT
    output = b""
    while text.encode() not in output:
        ready, _, _ = select.select([process.stdout], [], [], deadline - time.monotonic())
        piece = os.read(process.stdout.fileno(), 65536) if ready else b""
        assert piece, f"no {text!r} in {output.decode()}"
        output += piece
    return output.decode()


def _address(output: str, name: str) -> str:
    found = re.search(rf"^ +{name} +([\d.]+:\d+)", output, re.MULTILINE)
    assert found, output
    return found[1]
