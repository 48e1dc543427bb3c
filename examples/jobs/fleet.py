"""Jobs that are about all hosts together."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from spincycle.job import Job, JobError, JobTypes, Return, State, Value

from .args import TextArgsJob, host_name, text

jobs = JobTypes()


class NoHosts(JobError):
    """The list of hosts is empty or names a host twice."""


@jobs.register("open-fleet")
class OpenFleet(Job):
    """Makes the directory of the fleet.

    Which one that is, and which hosts there are, is known when the request is created:
    `create` sets both as arguments for the jobs that follow.
    """

    def __init__(self) -> None:
        self._fleet = Path()

    def create(self, args: dict[str, Value]) -> None:
        """Read `hosts`; set `hostList` and `fleet`."""
        hosts = [host_name(part.strip()) for part in text(args, "hosts").split(",")]
        if len(set(hosts)) < len(hosts):
            raise NoHosts("hosts names a host twice")
        # The stack of `spincycle dev` tells its processes where they may put things.
        base = os.environ.get("SPINCYCLE_DEV_HOME") or tempfile.gettempdir()
        self._fleet = Path(base) / f"fleet-{self.id.request_id}"
        args["hostList"] = list(hosts)
        args["fleet"] = str(self._fleet)

    def serialize(self) -> bytes:
        """The directory."""
        return str(self._fleet).encode()

    def deserialize(self, data: bytes) -> None:
        """Read the directory back."""
        self._fleet = Path(data.decode())

    def run(self, data: dict[str, Value]) -> Return:
        """Make the directory, and in it the load balancer's pool."""
        pool = self._fleet / "pool"
        pool.mkdir(parents=True, exist_ok=True)
        return Return(State.COMPLETE, stdout=f"made {self._fleet}")


@jobs.register("write-notice")
class WriteNotice(TextArgsJob):
    """Writes down which hosts serve which release now."""

    needs = ("fleet", "release")

    def run(self, data: dict[str, Value]) -> Return:
        """Write the notice, and put it into the job log too."""
        fleet = Path(self.args["fleet"])
        serving = sorted(entry.name for entry in (fleet / "pool").iterdir())
        notice = f"{', '.join(serving)} serve release {self.args['release']}"
        (fleet / "NOTICE").write_text(notice + "\n")
        return Return(State.COMPLETE, stdout=notice)


@jobs.register("close-fleet")
class CloseFleet(TextArgsJob):
    """Deletes the directory of the fleet, once all hosts are retired."""

    needs = ("fleet",)

    def run(self, data: dict[str, Value]) -> Return:
        """Delete it, unless a host is still there."""
        fleet = Path(self.args["fleet"])
        left = sorted(entry.parent.name for entry in fleet.glob("*/pid"))
        if left:
            return Return(State.FAIL, error=f"still there: {', '.join(left)}")
        # Gone already is as good: the try before this one may have been cut short.
        shutil.rmtree(fleet, ignore_errors=True)
        return Return(State.COMPLETE, stdout=f"deleted {fleet}")
