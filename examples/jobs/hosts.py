"""Jobs that provision, start, stop, probe and retire one host."""

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

_PATIENCE = 10.0


class HostJob(TextArgsJob):
    """A job about one host of a fleet."""

    needs: ClassVar[tuple[str, ...]] = ("fleet", "host")

    @property
    def directory(self) -> Path:
        """Where the host lives."""
        return Path(self.args["fleet"]) / self.args["host"]


@jobs.register("install-release")
class InstallRelease(HostJob):
    """Puts a release onto a host, which serves it from its next start on."""

    needs = ("fleet", "host", "release")

    def run(self, data: dict[str, Value]) -> Return:
        """Write the release down; doing it twice is the same as once."""
        self.directory.mkdir(exist_ok=True)
        (self.directory / "release").write_text(self.args["release"])
        return Return(State.COMPLETE, stdout=f"release {self.args['release']}")


@jobs.register("start-host")
class StartHost(HostJob):
    """Starts the server of a host. It goes on when the job, and even its runner, ends."""

    async def run(self, data: dict[str, Value]) -> Return:
        """Start it, unless a try before this one already has."""
        if running_pid(self.directory) is not None:
            return Return(State.COMPLETE, stdout="is running already")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            web_host.__file__,
            self.directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                stdout, stderr = await process.communicate()
        except TimeoutError:
            process.kill()
            return Return(State.FAIL, error=f"does not start within {_PATIENCE:g} s")
        code = process.returncode or 0
        state, error = (State.FAIL, f"exit code {code}") if code else (State.COMPLETE, "")
        return Return(state, code, error, stdout.decode(), stderr.decode())


@jobs.register("stop-host")
class StopHost(HostJob):
    """Stops the server of a host."""

    def run(self, data: dict[str, Value]) -> Return:
        """Ask it to end, and kill it if it does not. This blocks, so it runs on a thread."""
        return Return(State.COMPLETE, stdout=stop_server(self.directory))


@jobs.register("probe-host")
class ProbeHost(HostJob):
    """Asks a host once whether it is healthy and runs the right release; retry does the rest."""

    needs = ("fleet", "host", "release")

    def run(self, data: dict[str, Value]) -> Return:
        """Ask. The request ends within seconds, so there is nothing for `stop` to do."""
        url = f"http://{(self.directory / 'address').read_text()}/health"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # an address of ours
                said = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return Return(
                    State.FAIL, error.code, f"answers {error.code}", error.read().decode()
                )
        except OSError as error:
            return Return(State.FAIL, 1, f"does not answer: {error}")
        if said["release"] != self.args["release"]:
            return Return(State.FAIL, 1, f"runs release {said['release']}")
        return Return(State.COMPLETE, stdout=json.dumps(said))


@jobs.register("retire-host")
class RetireHost(HostJob):
    """Takes a host away: out of the pool, stopped, its directory deleted."""

    def run(self, data: dict[str, Value]) -> Return:
        """Do each step as far as it is not done yet."""
        (self.directory.parent / "pool" / self.args["host"]).unlink(missing_ok=True)
        stopped = stop_server(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)
        return Return(State.COMPLETE, stdout=f"{stopped}; deleted")


def running_pid(directory: Path) -> int | None:
    """Process id of a host's server, if it runs."""
    try:
        pid = int((directory / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    # The number may mean another process by now.
    return pid if str(directory).encode() in command else None


def stop_server(directory: Path) -> str:
    """Stop the server of a host; answer what was done. Blocks for some seconds at most."""
    pid = running_pid(directory)
    (directory / "pid").unlink(missing_ok=True)
    if pid is None:
        return "was not running"
    process = os.pidfd_open(pid)
    wait = select.poll()
    wait.register(process, select.POLLIN)
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended = wait.poll(1000 * _PATIENCE)
        if not ended:
            signal.pidfd_send_signal(process, signal.SIGKILL)
    finally:
        os.close(process)
    return "stopped" if ended else "killed"
