"""Fixtures that run spinc, as a process or on a terminal, against services in memory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest
from tests.cli_samples import ID, greet_spec, request, rolling_restart_chain, rolling_restart_spec
from tests.integration.cli.fake_services import FakeServices, Memory
from tests.integration.cli.screen import Screen

SPINC = str(Path(sys.executable).parent / "spinc")
PATIENCE = 30
SPAN = re.compile(r"\b(\d+h\d+m(\d+s)?|\d+m\d+s|\d+(\.\d+)?s)\b")
SCREENS = Path(__file__).parent / "screens"


@dataclass(frozen=True)
class Ran:
    """Result of a spinc process."""

    code: int
    out: str
    err: str


def restore_ctrl_c() -> None:
    """Let Ctrl-C end the process again."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Tty:
    """A program on a terminal, by default spinc, and the screen of that terminal."""

    def __init__(
        self,
        args: list[str],
        environment: dict[str, str],
        size: tuple[int, int],
        program: str = SPINC,
    ) -> None:
        self.child = pexpect.spawn(
            program,
            args,
            env=environment,
            dimensions=size,
            encoding="utf-8",
            timeout=PATIENCE,
            # A shell that starts the tests in the background lets them ignore Ctrl-C.
            preexec_fn=restore_ctrl_c,
        )
        self.screen = Screen(size[1], size[0])
        self.written = ""

    def see(self, text: str) -> None:
        """Wait until `text` was written."""
        self.child.expect_exact(text)
        self._take()

    def show(self, text: str) -> None:
        """Wait until `text` is on the screen."""
        end = time.monotonic() + PATIENCE
        while text not in self.screen.text:
            assert time.monotonic() < end, self.screen.text
            self._read()

    def lose(self, text: str) -> None:
        """Wait until `text` is no longer on the screen."""
        end = time.monotonic() + PATIENCE
        while text in self.screen.text:
            assert time.monotonic() < end, self.screen.text
            self._read()

    def _read(self) -> None:
        with suppress(pexpect.TIMEOUT):
            written = self.child.read_nonblocking(65536, timeout=0.2)
            self.written += written
            self.screen.feed(written)

    def type(self, text: str) -> None:
        self.child.sendline(text)

    def interrupt(self) -> None:
        """Type Ctrl-C until the program ends; one typed while a prompt opens can be lost."""
        end = time.monotonic() + PATIENCE
        while self.child.isalive() and time.monotonic() < end:
            self.child.sendintr()
            with suppress(pexpect.TIMEOUT, pexpect.EOF):
                self.child.expect_exact(pexpect.EOF, timeout=1)
                return

    def resize(self, lines: int, columns: int) -> None:
        """Resize the terminal, which signals the program."""
        self.screen.resize(columns, lines)
        self.child.setwinsize(lines, columns)

    def end(self) -> int:
        """Wait until the program ends and return its exit code."""
        self.child.expect_exact(pexpect.EOF)
        self._take()
        self.child.close()
        code = self.child.exitstatus
        return code if code is not None else -(self.child.signalstatus or 0)

    def _take(self) -> None:
        written = self.child.before or ""
        if isinstance(self.child.after, str):
            written += self.child.after
        self.written += written
        self.screen.feed(written)


@pytest.fixture
def services() -> Iterator[FakeServices]:
    with FakeServices() as fake:

        def fill(memory: Memory) -> None:
            memory.specs = [greet_spec(), rolling_restart_spec()]
            memory.requests[ID] = request()
            memory.chains[ID] = rolling_restart_chain()

        fake.update(fill)
        yield fake


@pytest.fixture
def environment(services: FakeServices, tmp_path: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {
        "HOME": str(tmp_path),
        "TZ": "UTC",
        "TERM": "xterm",
        "PYTHONIOENCODING": "utf-8",
        "SPINC_ADDR": services.address,
        "SPINC_JOB_LOG": services.address,
        "SPINC_CONFIG": str(tmp_path / "spinc.yaml"),
    }


@pytest.fixture
def spinc(environment: dict[str, str]) -> Callable[..., Ran]:
    """Run spinc without a terminal."""

    def run(*args: str, **more: str) -> Ran:
        done = subprocess.run(
            [SPINC, *args],
            env=environment | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def tty(environment: dict[str, str]) -> Iterator[Callable[..., Tty]]:
    """Run spinc on a terminal of 24 lines and 80 columns, or another size."""
    started: list[Tty] = []

    def run(*args: str, size: tuple[int, int] = (24, 80), **more: str) -> Tty:
        started.append(Tty(list(args), environment | more, size))
        return started[-1]

    yield run
    for one in started:
        one.child.close(force=True)


@pytest.fixture
def screen_is(services: FakeServices) -> Callable[[str, str], None]:
    """Compare with the checked-in screen, with addresses and durations replaced.

    SPINC_SCREENS=write rewrites them.
    """

    def compare(name: str, text: str) -> None:
        text = text.replace(services.address, "127.0.0.1:32310").replace("\r\n", "\n")
        text = re.sub(r"<span> +", "<span> ", SPAN.sub("<span>", text))
        path = SCREENS / f"{name}.txt"
        if os.environ.get("SPINC_SCREENS") == "write":
            path.write_text(text)
        assert text == path.read_text()

    return compare
