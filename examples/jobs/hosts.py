"""Jobs that install, start, stop, probe and retire one host."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar

from spincycle.job import JobTypes, Return, State, Value

from . import web_host
from .args import TextArgsJob

jobs = JobTypes()

_TIMEOUT = 10.0


class HostJob(TextArgsJob):
    """A job for one host of a fleet."""

    needs: ClassVar[tuple[str, ...]] = ("fleet", "host")

    @property
    def directory(self) -> Path:
        """Directory of the host."""
        return Path(self.args["fleet"]) / self.args["host"]


@jobs.register("install-release")
class InstallRelease(HostJob):
    """Installs a release on a host, which serves it after its next start."""

    needs = ("fleet", "host", "release")

    def run(self, data: dict[str, Value]) -> Return:
        """Write the release file; idempotent."""
        self.directory.mkdir(exist_ok=True)
        (self.directory / "release").write_text(self.args["release"])
        return Return(State.COMPLETE, stdout=f"release {self.args['release']}")


@jobs.register("start-host")
class StartHost(HostJob):
    """Starts the server of a host, which keeps running when the job and its runner end."""

    async def run(self, data: dict[str, Value]) -> Return:
        """Start the server unless an earlier try has started it."""
        if running_pid(self.directory) is not None:
            return Return(State.COMPLETE, stdout="already running")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            web_host.__file__,
            self.directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_TIMEOUT):
                stdout, stderr = await process.communicate()
        except TimeoutError:
            process.kill()
            return Return(State.FAIL, error=f"did not start within {_TIMEOUT:g} s")
        code = process.returncode or 0
        state, error = (State.FAIL, f"exit code {code}") if code else (State.COMPLETE, "")
        return Return(state, code, error, stdout.decode(), stderr.decode())


@jobs.register("stop-host")
class StopHost(HostJob):
    """Stops the server of a host."""

    def run(self, data: dict[str, Value]) -> Return:
        """Terminate the server, then kill it; blocks, so it runs on a thread."""
        return Return(State.COMPLETE, stdout=stop_server(self.directory))


@jobs.register("probe-host")
class ProbeHost(HostJob):
    """Checks once whether a host is healthy and runs the right release; the spec retries it."""

    needs = ("fleet", "host", "release")

    def run(self, data: dict[str, Value]) -> Return:
        """Send a health check. It times out within seconds, so `stop` is not needed."""
        url = f"http://{(self.directory / 'address').read_text()}/health"
        try:
            with urllib.request.urlopen(url, timeout=2) as response:  # a trusted address
                health = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return Return(
                    State.FAIL, error.code, f"returned {error.code}", error.read().decode()
                )
        except OSError as error:
            return Return(State.FAIL, 1, f"not reachable: {error}")
        if health["release"] != self.args["release"]:
            return Return(State.FAIL, 1, f"runs release {health['release']}")
        return Return(State.COMPLETE, stdout=json.dumps(health))


@jobs.register("retire-host")
class RetireHost(HostJob):
    """Removes a host: from the pool, its server and its directory."""

    def run(self, data: dict[str, Value]) -> Return:
        """Do the steps that are not done yet."""
        (self.directory.parent / "pool" / self.args["host"]).unlink(missing_ok=True)
        stopped = stop_server(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)
        return Return(State.COMPLETE, stdout=f"{stopped}; deleted")


def running_pid(directory: Path) -> int | None:
    """Return the process id of a host's server; None if it is not running."""
    try:
        pid = int((directory / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    # The process id may have been reused by another process.
    return pid if str(directory).encode() in command else None


def stop_server(directory: Path) -> str:
    """Stop the server of a host and return what was done; blocks for at most _TIMEOUT seconds."""
    pid = running_pid(directory)
    (directory / "pid").unlink(missing_ok=True)
    if pid is None:
        return "was not running"
    process = os.pidfd_open(pid)
    wait = select.poll()
    wait.register(process, select.POLLIN)
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended = wait.poll(1000 * _TIMEOUT)
        if not ended:
            signal.pidfd_send_signal(process, signal.SIGKILL)
    finally:
        os.close(process)
    return "stopped" if ended else "killed"
