"""Jobs that say which hosts a load balancer sends requests to: one file a host."""

from __future__ import annotations

import asyncio
from pathlib import Path

from spincycle.job import JobError, JobTypes, Return, State, Value

from .args import TextArgsJob

jobs = JobTypes()

_STEPS = 20


@jobs.register("enable-host")
class EnableHost(TextArgsJob):
    """Puts a host into the pool."""

    needs = ("fleet", "host")

    def run(self, data: dict[str, Value]) -> Return:
        """Make its file, with the address to send requests to."""
        fleet = Path(self.args["fleet"])
        address = (fleet / self.args["host"] / "address").read_text()
        (fleet / "pool" / self.args["host"]).write_text(address)
        return Return(State.COMPLETE, stdout=f"the pool sends to {address}")


@jobs.register("drain-host")
class DrainHost(TextArgsJob):
    """Takes a host out of the pool and gives it time to finish what it has begun."""

    needs = ("fleet", "host", "settle")

    def __init__(self) -> None:
        super().__init__()
        self._stopped = asyncio.Event()

    def create(self, args: dict[str, Value]) -> None:
        """Refuse a `settle` that is no number now, rather than when the host is drained."""
        super().create(args)
        if not self.args["settle"].isdecimal():
            raise JobError(f'settle is "{self.args["settle"]}", which is no number of milliseconds')

    async def run(self, data: dict[str, Value]) -> Return:
        """Delete its file, then wait, and tell those who watch how far it is."""
        fleet = Path(self.args["fleet"])
        (fleet / "pool" / self.args["host"]).unlink(missing_ok=True)
        step = int(self.args["settle"]) / 1000 / _STEPS
        for done in range(_STEPS):
            self.report("letting requests finish", 100 * done / _STEPS)
            try:
                async with asyncio.timeout(step):
                    await self._stopped.wait()
            except TimeoutError:
                continue
            return Return(State.STOPPED)
        return Return(State.COMPLETE, stdout="drained")

    async def stop(self) -> None:
        """Let `run` return at once."""
        self._stopped.set()
