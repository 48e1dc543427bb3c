"""One side of a comparison: its tree, its environment, and runs of its own harness."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

REPOSITORY = Path(__file__).parents[2]
_OLDER_HARNESS = Path(__file__).with_name("older_harness.py")
_LOCK = "requirements.lock"
_PATIENCE = 90.0
"""Seconds that an interrupted harness has to end its services."""


class RunFailed(Exception):
    """A harness ended with an error, or reported a problem with one of its parts."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What every run measures.

    Attributes:
        shapes: names as `python -m tests.bench --shapes` takes them; empty for all.
        quick: whether a run makes a tenth of the requests.
    """

    shapes: str
    quick: bool


class Side:
    """One tree, with an environment whose console scripts come from that tree.

    Args:
        root: the tree.
        directory: an empty directory for the environment.
        options: of each run of the harness, which the other side does not have.

    Raises:
        subprocess.CalledProcessError: the environment could not be installed, or the tree's
            harness does not start.
    """

    def __init__(self, root: Path, directory: Path, *options: str) -> None:
        self._root = root
        self._options = options
        self._environment = {
            name: value
            for name, value in os.environ.items()
            # The modules of another tree, and the variables of the make that runs this.
            if name not in {"PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
        }
        self._python = self._install(directory)
        self._is_older = not self._selects_shapes()

    def run(self, workload: Workload, out: Path) -> dict[str, Any]:
        """Run the harness once and return the content of its bench.json.

        Raises:
            RunFailed: the harness failed; its standard error is in `out`/stderr.
        """
        out.mkdir(parents=True, exist_ok=True)
        log = out / "stderr"
        options = ["--only", "shapes", "--repeat", "1", "--out", str(out), *self._options]
        options += ["--quick"] if workload.quick else []
        options += ["--shapes", workload.shapes] if workload.shapes else []
        command = ["-m", "tests.bench", "--rpcs"]
        if self._is_older:
            command = [str(_OLDER_HARNESS)]
        with log.open("wb") as stderr:
            code = self._wait([*command, *options], stderr.fileno())
        if code:
            raise RunFailed(f"the harness in {self._root} failed:\n{log.read_text()[-3000:]}")
        results: dict[str, Any] = orjson.loads((out / "bench.json").read_bytes())
        if problems := results.get("problems"):
            raise RunFailed(f"the harness in {self._root} reported: {'; '.join(problems)}")
        return results

    def _install(self, directory: Path) -> Path:
        """Return the interpreter of an environment with the console scripts of the tree.

        Third-party packages are those of the environment that runs this, unless the tree locks
        other ones.
        """
        if (self._root / _LOCK).read_bytes() != (REPOSITORY / _LOCK).read_bytes():
            self._call(["make", "setup", f"PYTHON={sys.executable}"])
            return self._root / ".venv" / "bin" / "python"
        self._call([sys.executable, "-m", "venv", "--without-pip", str(directory)])
        python = directory / "bin" / "python"
        script = "import sysconfig; print(sysconfig.get_path('purelib'))"
        packages = subprocess.check_output([python, "-c", script], text=True).strip()
        # A directory that a .pth file names is appended to the path, and its own .pth files are not
        # read: the project that is installed there is not imported.
        Path(packages, "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self._call(
            [
                sys.executable,
                "-m",
                "pip",
                "--python",
                str(directory),
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--no-build-isolation",
                "--ignore-installed",
                "-e",
                str(self._root),
            ]
        )
        return python

    def _selects_shapes(self) -> bool:
        command = [str(self._python), "-m", "tests.bench", "--help"]
        text = subprocess.check_output(command, cwd=self._root, env=self._environment, text=True)
        return "--shapes" in text and "--rpcs" in text

    def _call(self, command: Sequence[str]) -> None:
        subprocess.run(
            command, cwd=self._root, env=self._environment, check=True, stdout=subprocess.DEVNULL
        )

    def _wait(self, arguments: Sequence[str], stderr: int) -> int:
        """Run Python; when this process is interrupted, let the harness end its services first."""
        # A session of its own: Ctrl-C reaches the harness once, from here.
        child = subprocess.Popen(
            [self._python, *arguments],
            cwd=self._root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            return child.wait()
        except BaseException:
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_PATIENCE)
            child.kill()
            child.wait()
            raise


@contextlib.contextmanager
def worktree(commit: str, directory: Path) -> Iterator[Path]:
    """Check out a commit in `directory` within the context, and remove it afterwards.

    Raises:
        subprocess.CalledProcessError: there is no such commit.
    """
    try:
        _git("worktree", "add", "--quiet", "--detach", str(directory), commit)
        yield directory
    finally:
        if directory.exists():
            # Twice forced: git locks a tree while it checks it out.
            _git("worktree", "remove", "--force", "--force", str(directory))


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
