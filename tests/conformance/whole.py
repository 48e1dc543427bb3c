"""All services on one machine, as `spincycle dev` starts them, with the recordings' specs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SPECS = Path(__file__).parent / "recordings" / "specs"
PATIENCE = 60


class Whole:
    """The stack, once it is up."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        until(lambda: "Ctrl-C to stop everything" in self.output())
        self.api = self._address("legacy_runner_address")
        self.public = self._address("address")
        self.runner = self._address("job_runner_address")

    def output(self) -> str:
        """Return the output so far."""
        text = self._log.read_text("utf-8", "replace")
        assert self._process.poll() is None, text
        return text

    def pid(self, name: str) -> int:
        """Process id of one of its services."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for child in children.read_text().split():
            if f"spincycle-{name}" in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
        raise AssertionError(f"no {name} among {children.read_text()}")

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Freeze a service inside the block."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _address(self, name: str) -> str:
        found = re.search(rf"\b{name}=(127\.0\.0\.1:\d+) ?.*service=gateway", self.output())
        assert found, self.output()
        return f"http://{found[1]}"


@contextmanager
def started(**environment: str) -> Iterator[Whole]:
    """Start a stack on free ports whose gateway also serves the routes of the original's runners
    and those for them.
    """
    command = (
        Path(sysconfig.get_path("scripts")) / "spincycle",
        "dev",
        "--ephemeral",
        "--free-ports",
        "--specs",
        SPECS,
        "--jobs",
        "tests.conformance.jobs:jobs",
    )
    variables = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "SPINCYCLE_GATEWAY_DUMPABLE": "true",
        "SPINCYCLE_GATEWAY_LEGACY_RUNNER_LISTEN": "127.0.0.1:0",
        "SPINCYCLE_GATEWAY_JOB_RUNNER_LISTEN": "127.0.0.1:0",
        # The original's callers have no names.
        **{f"SPINCYCLE_{name}_AUTH__NONE": "true" for name in ("RM", "JL", "GATEWAY")},
        **{f"SPINCYCLE_{name}_LEGACY_RUNNER_CALLS": "true" for name in ("RM", "JR", "JL")},
        **environment,
    }
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        try:
            yield Whole(process, Path(log.name))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def until(holds: Callable[[], bool]) -> None:
    """Wait until the condition holds, for a bounded time."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)
