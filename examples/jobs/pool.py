"""Jobs that manage a load balancer's pool, which has one file per host."""

from __future__ import annotations

import asyncio
from pathlib import Path

from spincycle.job import JobError, JobTypes, Return, State, Value

from .args import TextArgsJob

jobs = JobTypes()

_STEPS = 20


@jobs.register("enable-host")
class EnableHost(TextArgsJob):
    """Adds a host to the pool."""

    needs = ("fleet", "host")

    def run(self, data: dict[str, Value]) -> Return:
        """Write the host's file, which contains its address."""
        fleet = Path(self.args["fleet"])
        address = (fleet / self.args["host"] / "address").read_text()
        (fleet / "pool" / self.args["host"]).write_text(address)
        return Return(State.COMPLETE, stdout=f"the pool sends to {address}")


@jobs.register("drain-host")
class DrainHost(TextArgsJob):
    """Removes a host from the pool and waits for its pending requests to finish."""

    needs = ("fleet", "host", "settle")

    def __init__(self) -> None:
        super().__init__()
        self._stopped = asyncio.Event()

    def create(self, args: dict[str, Value]) -> None:
        """Validate `settle`, a number of milliseconds, when the request is created."""
        super().create(args)
        if not self.args["settle"].isdecimal():
            raise JobError(f'settle: "{self.args["settle"]}" is not a number of milliseconds')

    async def run(self, data: dict[str, Value]) -> Return:
        """Delete the host's file, then wait and report progress."""
        fleet = Path(self.args["fleet"])
        (fleet / "pool" / self.args["host"]).unlink(missing_ok=True)
        step = int(self.args["settle"]) / 1000 / _STEPS
        for done in range(_STEPS):
            self.report("waiting for requests to finish", 100 * done / _STEPS)
            try:
                async with asyncio.timeout(step):
                    await self._stopped.wait()
            except TimeoutError:
                continue
            return Return(State.STOPPED)
        return Return(State.COMPLETE, stdout="drained")

    async def stop(self) -> None:
        """Make `run` return immediately."""
        self._stopped.set()
