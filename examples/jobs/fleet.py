"""Jobs for the fleet as a whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from spincycle.job import Job, JobError, JobTypes, Return, State, Value

from .args import TextArgsJob, host_name, text

jobs = JobTypes()


class NoHosts(JobError):
    """The list of hosts contains a host twice."""


@jobs.register("open-fleet")
class OpenFleet(Job):
    """Creates the directory of the fleet.

    `create` sets the directory and the list of hosts as arguments of the jobs that follow.
    """

    def __init__(self) -> None:
        self._fleet = Path()

    def create(self, args: dict[str, Value]) -> None:
        """Read `hosts`; set `hostList` and `fleet`."""
        hosts = [host_name(part.strip()) for part in text(args, "hosts").split(",")]
        if len(set(hosts)) < len(hosts):
            raise NoHosts("hosts contains a host twice")
        # `spincycle dev` sets a directory for the files of its processes.
        base = os.environ.get("SPINCYCLE_DEV_HOME") or tempfile.gettempdir()
        self._fleet = Path(base) / f"fleet-{self.id.request_id}"
        args["hostList"] = list(hosts)
        args["fleet"] = str(self._fleet)

    def serialize(self) -> bytes:
        """Encode the directory."""
        return str(self._fleet).encode()

    def deserialize(self, data: bytes) -> None:
        """Decode the directory."""
        self._fleet = Path(data.decode())

    def run(self, data: dict[str, Value]) -> Return:
        """Create the directory and, in it, the load balancer's pool."""
        pool = self._fleet / "pool"
        pool.mkdir(parents=True, exist_ok=True)
        return Return(State.COMPLETE, stdout=f"created {self._fleet}")


@jobs.register("write-notice")
class WriteNotice(TextArgsJob):
    """Writes a notice of which hosts serve which release."""

    needs = ("fleet", "release")

    def run(self, data: dict[str, Value]) -> Return:
        """Write the notice, and return it as output for the job log."""
        fleet = Path(self.args["fleet"])
        serving = sorted(entry.name for entry in (fleet / "pool").iterdir())
        notice = f"{', '.join(serving)} serve release {self.args['release']}"
        (fleet / "NOTICE").write_text(notice + "\n")
        return Return(State.COMPLETE, stdout=notice)


@jobs.register("close-fleet")
class CloseFleet(TextArgsJob):
    """Deletes the directory of the fleet after all hosts are retired."""

    needs = ("fleet",)

    def run(self, data: dict[str, Value]) -> Return:
        """Delete the directory; fail if a host has not been retired."""
        fleet = Path(self.args["fleet"])
        hosts = sorted(entry.parent.name for entry in fleet.glob("*/pid"))
        if hosts:
            return Return(State.FAIL, error=f"not retired: {', '.join(hosts)}")
        # Idempotent: an interrupted try may have deleted part of it.
        shutil.rmtree(fleet, ignore_errors=True)
        return Return(State.COMPLETE, stdout=f"deleted {fleet}")
