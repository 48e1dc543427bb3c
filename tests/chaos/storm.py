"""A run of a cluster under load while faults are made, and the verdict on it."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from tests.chaos.cluster import Cluster
from tests.chaos.load import Load
from tests.chaos.member import Member
from tests.chaos.setback import Setback
from tests.chaos.witness import Testimony, collect, contradictions, recovery_times

from spincycle.model.state import FINAL

RECOVERED_WITHIN = 15.0
"""Seconds within which the requests of a dead runner must go on: the promise."""

TRACEBACK_LINES = 40
"""Lines of a log that are shown of each traceback."""

SETTLED_WITHIN = 120.0
"""Seconds after the last fault within which everything must have ended."""


@dataclass
class Storm:
    """Load, faults and what came of them.

    Attributes:
        stopped: requests that the test stopped: they end in whatever state.
    """

    cluster: Cluster
    load: Load
    stopped: set[str] = field(default_factory=set)
    deaths: list[tuple[int, float]] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    async def kill(self, member: Member, *, again: bool = True) -> None:
        """Take a process away, and start it again unless that is not wanted."""
        pid = member.pid
        await member.kill()
        if member in self.cluster.job_runners:
            self.deaths.append((pid, time.time()))
        self.kills[member.service.name] += 1
        if again:
            member.start()

    async def kill_at_random(self, number: int, seed: int, pause: tuple[float, float]) -> None:
        """Take processes away one after another, each being started again at once."""
        draw = random.Random(seed)
        for _ in range(number):
            await self.kill(draw.choice(self.cluster.members))
            await asyncio.sleep(draw.uniform(*pause))

    async def blow(self, faults: Callable[[], Awaitable[None]], rate: float, ms: int) -> None:
        """Make faults under load, and wait until all that was acknowledged has ended."""
        ended = asyncio.Event()
        loading = asyncio.create_task(self.load.run(ended, rate, ms))
        try:
            await faults()
        finally:
            ended.set()
        await loading
        await self.settled()

    async def settled(self) -> None:
        """Wait until all that was acknowledged has ended, and every process serves."""
        await self.load.until_final(SETTLED_WITHIN)
        for member in self.cluster.members:
            await member.until_ready()

    async def verdict(self, setback: Setback | None = None) -> Verdict:
        """Look at everything from outside; `setback` is what the database lost meanwhile."""
        connection = await self.cluster.connect()
        try:
            testimony = await collect(
                connection, self.cluster.request_manager, self.cluster.marks()
            )
        finally:
            await connection.close()
        lost = [
            f"acknowledged request {request_id} does not exist"
            for request_id in self.load.acknowledged
            if request_id not in testimony.requests
        ]
        died = [
            f"{member.service.name} ended by itself with {member.exit_code}\n{member.tail()}"
            for member in self.cluster.members
            if member.exit_code is not None
        ]
        surprises = [
            f"{member.service.name} was surprised: {text}"
            for member in self.cluster.members
            for text in _tracebacks(member.log.read_text(errors="replace").splitlines())
        ]
        stopped = [testimony.requests.pop(request_id) for request_id in self.stopped]
        going = [
            f"{request.request_id} is {request.state.name}, and was stopped"
            for request in stopped
            if request.state not in FINAL
        ]
        broken = setback.contradictions(testimony) if setback else contradictions(testimony)
        wrong = [*self.load.wrong, *lost, *died, *surprises, *going, *broken]
        return Verdict(testimony, wrong, recovery_times(testimony, self.deaths))


def _tracebacks(lines: list[str]) -> Iterator[str]:
    """Yield each traceback in a log, and the lines after it."""
    for number, line in enumerate(lines):
        if "Traceback" in line:
            yield "\n".join(lines[number : number + TRACEBACK_LINES])


@dataclass
class Verdict:
    """What is wrong, and the figures."""

    testimony: Testimony
    wrong: list[str]
    recoveries: list[tuple[float, str, float]]

    @property
    def slow(self) -> list[str]:
        """Requests whose recovery took longer than was promised."""
        return [
            f"{request_id} waited {waited:.1f} s"
            for waited, request_id, _ in self.recoveries
            if waited > RECOVERED_WITHIN
        ]

    def figures(self) -> str:
        """One line for people."""
        states = Counter(request.state.name for request in self.testimony.requests.values())
        waits = [waited for waited, _, _ in self.recoveries]
        middle = waits[len(waits) // 2] if waits else 0.0
        return (
            f"{len(self.testimony.requests)} requests ({dict(states)}), "
            f"{len(self.testimony.marks)} marks, {len(self.testimony.entries)} entries, "
            f"{len(waits)} interrupted by a death, recovered in {middle:.1f} s (median), "
            f"{max(waits, default=0.0):.1f} s (longest)"
        )
