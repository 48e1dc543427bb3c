"""Jobs on the hosts of a fleet, one of which fails."""

from __future__ import annotations

import time
from pathlib import Path

from spincycle.job import Job, JobTypes, Return, State, Value

jobs = JobTypes()

FAILING_HOST = "h05"


class _OnHost(Job):
    def create(self, args: dict[str, Value]) -> None:
        self._host, self._gate = str(args["host"]), str(args["gate"])

    def serialize(self) -> bytes:
        return f"{self._host}\n{self._gate}".encode()

    def deserialize(self, data: bytes) -> None:
        self._host, self._gate = data.decode().split("\n")


@jobs.register("check-host")
class CheckHost(_OnHost):
    """Completes once the gate exists."""

    def run(self, data: dict[str, Value]) -> Return:
        self.prints(f"{self.id.path} waits\n")
        gate = Path(self._gate)
        while not gate.exists():
            time.sleep(0.02)
        return Return(State.COMPLETE)


@jobs.register("verify-host")
class VerifyHost(_OnHost):
    """Fails on one host."""

    async def run(self, data: dict[str, Value]) -> Return:
        if self._host == FAILING_HOST:
            return Return(State.FAIL, exit=1, error="version differs")
        return Return(State.COMPLETE)
