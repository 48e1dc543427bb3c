"""Requests in a closed loop: each worker asks for its next one when its last one has ended.

The ends are found by one list of what is active, asked for again and again, as anybody would
who watches many requests through REST. That is part of what is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from tests.bench.http_client import HttpConnection
from tests.bench.rpcs import RpcCounter
from tests.bench.shapes import Shape
from tests.bench.stand import Stand
from tests.bench.statements import Done, Statements
from tests.bench.usage import Usage

_ACTIVE = "/api/v1/requests?state=PENDING&state=RUNNING&state=SUSPENDED&type="
_COMPLETE = 3


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Milliseconds."""

    p50: float
    p95: float
    p99: float


@dataclass(slots=True)
class Figures:
    """One run of one shape.

    Attributes:
        jobs: jobs of all requests, those that the system adds included.
        create: milliseconds until a create is answered.
        end_to_end: milliseconds from a request's creation to its end, as the service keeps them.
        seen: milliseconds from the sending of a create until its end is seen.
        cpu_ms: CPU milliseconds a request, by process.
        peak_mb: most memory, by process.
        calls: database statements by name.
        rpcs: gRPC calls that services handled, by method; empty if they were not counted.
        bare_batch_cpu_ms: CPU milliseconds of a bare batch of eight rows just before: how fast the
            machine was then.
    """

    shape: str
    in_flight: int
    requests: int
    jobs: int
    seconds: float
    create: Quantiles
    end_to_end: Quantiles
    seen: Quantiles
    cpu_ms: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)
    statements: int = 0
    commits: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    rpcs: dict[str, int] = field(default_factory=dict)
    bare_batch_cpu_ms: float = 0.0

    @property
    def cpu_ms_a_request(self) -> float:
        """CPU milliseconds of all processes a request."""
        return sum(self.cpu_ms.values())

    @property
    def cpu_ms_a_job(self) -> float:
        """CPU milliseconds of all processes a job."""
        return self.cpu_ms_a_request * self.requests / self.jobs


class ClosedLoop:
    """Runs `count` requests of a shape with `in_flight` of them at a time."""

    def __init__(self, stand: Stand, shape: Shape, in_flight: int, count: int) -> None:
        self._stand = stand
        self._shape = shape
        self._in_flight = in_flight
        self._left = count
        self._interval = 0.005 if in_flight == 1 else 0.010 if in_flight <= 8 else 0.025
        self._waiting: dict[str, tuple[float, asyncio.Future[None]]] = {}
        self._creates: list[float] = []
        self._seen: list[float] = []
        self._ids: set[str] = set()
        self._some = asyncio.Event()

    async def run(self) -> Figures:
        """Run them all.

        Raises:
            RuntimeError: a call failed, or a request did not end as COMPLETE.
        """
        statements = Statements(self._stand.connection)
        rpcs = RpcCounter(self._stand.metrics)
        connections = [
            await HttpConnection.open(*self._stand.gateway) for _ in range(self._in_flight + 1)
        ]
        await rpcs.begin()
        await statements.begin()
        async with Usage(self._stand.pids) as usage:
            began = time.perf_counter()
            poller = asyncio.create_task(self._poll(connections[-1]))
            workers = asyncio.gather(*(self._work(one) for one in connections[:-1]))
            running: list[asyncio.Future[Any]] = [workers, poller]
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if poller.done():
                workers.cancel()
                await poller
            await workers
            seconds = time.perf_counter() - began
            poller.cancel()
            await asyncio.wait([poller])
        done = await statements.end()
        handled = await rpcs.end()
        finals = await self._finals(await HttpConnection.open(*self._stand.gateway))
        for connection in connections:
            connection.close()
        return self._figures(seconds, usage, done, handled, finals)

    async def _work(self, connection: HttpConnection) -> None:
        content = {"type": self._shape.type, "args": self._shape.args}
        while self._left > 0:
            self._left -= 1
            began = time.perf_counter()
            request = await connection.post("/api/v1/requests", content)
            answered = time.perf_counter()
            self._creates.append(answered - began)
            self._ids.add(request["id"])
            ended = asyncio.get_running_loop().create_future()
            self._waiting[request["id"]] = answered, ended
            self._some.set()
            await ended
            self._seen.append(time.perf_counter() - began)

    async def _poll(self, connection: HttpConnection) -> None:
        pause = self._interval
        while True:
            if not self._waiting:
                self._some.clear()
                await self._some.wait()
                pause = self._interval
            await asyncio.sleep(pause)
            sent = time.perf_counter()
            before = list(self._waiting.items())
            active = orjson.loads(await connection.get(_ACTIVE + self._shape.type)) or []
            ids = {request["id"] for request in active}
            ended = 0
            for request_id, (created, future) in before:
                if created <= sent and request_id not in ids:
                    del self._waiting[request_id]
                    future.set_result(None)
                    ended += 1
            pause = self._interval if ended else min(pause * 1.25, 0.1)

    async def _finals(self, connection: HttpConnection) -> list[dict[str, Any]]:
        missing = set(self._ids)
        found = []
        offset = 0
        while missing:
            path = f"/api/v1/requests?type={self._shape.type}&limit=500&offset={offset}"
            page = orjson.loads(await connection.get(path))
            if not page:
                raise RuntimeError(f"{len(missing)} requests are in no list")
            found += [request for request in page if request["id"] in missing]
            missing.difference_update(request["id"] for request in page)
            offset += len(page)
        connection.close()
        wrong = [request["id"] for request in found if request["state"] != _COMPLETE]
        if wrong:
            raise RuntimeError(f"requests that did not complete: {', '.join(wrong[:5])}")
        return found

    def _figures(
        self,
        seconds: float,
        usage: Usage,
        done: Done,
        rpcs: dict[str, int],
        finals: list[dict[str, Any]],
    ) -> Figures:
        count = len(finals)
        return Figures(
            shape=self._shape.name,
            in_flight=self._in_flight,
            requests=count,
            jobs=sum(request["totalJobs"] for request in finals),
            seconds=seconds,
            create=quantiles(self._creates),
            end_to_end=quantiles([_lasted(request) for request in finals]),
            seen=quantiles(self._seen),
            cpu_ms={name: 1000 * cpu / count for name, cpu in usage.cpu_s.items()},
            peak_mb=usage.peak_mb,
            statements=done.statements,
            commits=done.commits,
            calls=done.calls,
            rpcs=rpcs,
        )


def quantiles(seconds: Sequence[float]) -> Quantiles:
    """Of durations in seconds, by nearest rank."""
    in_order = sorted(seconds)

    def at(part: int) -> float:
        return 1000 * in_order[max(0, -(-len(in_order) * part // 100) - 1)]

    return Quantiles(at(50), at(95), at(99))


def _lasted(request: dict[str, Any]) -> float:
    ended = datetime.fromisoformat(request["finishedAt"])
    return (ended - datetime.fromisoformat(request["createdAt"])).total_seconds()
