"""Figures that no closed loop gives: very large requests, very many sleeping ones, and none."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import grpc
import orjson
from tests.bench.http_client import HttpConnection
from tests.bench.limits import PAUSE
from tests.bench.load import Quantiles, quantiles
from tests.bench.reads import run_to_end
from tests.bench.shapes import Shape
from tests.bench.stand import Stand
from tests.bench.statements import Statements
from tests.bench.usage import Usage, memory_mb, proportional_mb
from tests.heartbeats import Silences

from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub


@dataclass(frozen=True, slots=True)
class Large:
    """One large request, from its create to its end.

    Attributes:
        seconds: from the sending of the create until the end is seen; 0 if it failed.
        problem: why it failed.
    """

    shape: str
    jobs: int
    seconds: float
    peak_mb: Mapping[str, float]
    problem: str = ""

    @property
    def ms_a_job(self) -> float:
        """Milliseconds of the whole for each job."""
        return 1000 * self.seconds / max(1, self.jobs)


async def take_large(stand: Stand, shape: Shape) -> Large:
    """Run one request of a shape."""
    connection = await HttpConnection.open(*stand.gateway)
    async with Usage(stand.pids) as usage:
        began = time.perf_counter()
        try:
            request_id = await run_to_end(connection, shape)
        except (RuntimeError, OSError, TimeoutError) as error:
            return Large(shape.name, 0, 0.0, usage.peak_mb, f"{type(error).__name__}: {error}")
        seconds = time.perf_counter() - began
    connection.close()
    row = await stand.connection.fetchrow(
        "SELECT total_jobs, state FROM request_manager.requests WHERE request_id = $1", request_id
    )
    assert row is not None
    problem = "" if row["state"] == 3 else f"ended in state {row['state']}"
    return Large(shape.name, row["total_jobs"], seconds, usage.peak_mb, problem)


@dataclass(frozen=True, slots=True)
class Sleepers:
    """Many requests of one sleeping job each, all running on one runner.

    Attributes:
        kb_a_job: what a running job and its request add to the runner's memory.
        beat_age: most seconds for which the database had the same last beat of the runner.
        list_ms: median time of GET status/running?limit=100.
    """

    running: int
    kb_a_job: float
    beat_age: float
    list_ms: float


async def take_sleepers(stand: Stand, count: int) -> Sleepers:
    """Start them, look at them while they run, and stop them with the stand."""
    runner = stand.pids["job-runner"]
    before = memory_mb(runner)
    content = {"type": "sleepers", "args": {"duration": "1h"}}
    connections = [await HttpConnection.open(*stand.gateway) for _ in range(32)]

    async def create(connection: HttpConnection) -> None:
        for _ in range(count // len(connections)):
            await connection.post("/api/v1/requests", content)

    silences = Silences(stand.connection)
    creating = asyncio.gather(*(create(connection) for connection in connections))
    running = 0
    async with asyncio.timeout(600):
        while not creating.done() or running < count // len(connections) * len(connections):
            running = await stand.connection.fetchval(_RUNNING)
            await silences.sample()
            await asyncio.sleep(0.2)
    await creating
    await asyncio.sleep(1)
    after = memory_mb(runner)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        answer = orjson.loads(await connections[0].get("/api/v1/status/running?limit=100"))
        times.append(1000 * (time.perf_counter() - began))
        if not answer["jobs"]:
            raise RuntimeError("no job is running")
    for connection in connections:
        connection.close()
    return Sleepers(running, (after - before) * 1024 / running, silences.longest, median(times))


_RUNNING = "SELECT count(*) FROM request_manager.requests WHERE type = 'sleepers' AND state = 2"


@dataclass(frozen=True, slots=True)
class Idle:
    """A stack that has nothing to do.

    Attributes:
        cores: part of one core that all processes together take.
        statements: database statements a second.
        memory_mb: by process.
        share_mb: by process, pages that several of them share counted in part.
    """

    cores: float
    statements: float
    memory_mb: Mapping[str, float]
    share_mb: Mapping[str, float]
    cores_by_process: Mapping[str, float]


async def take_idle(stand: Stand, seconds: float) -> Idle:
    """Watch it do nothing."""
    statements = Statements(stand.connection)
    await statements.begin()
    async with Usage(stand.pids, interval=seconds) as usage:
        await asyncio.sleep(seconds)
    done = await statements.end()
    memory = {name: memory_mb(pid) for name, pid in stand.pids.items()}
    by_process = {name: cpu / seconds for name, cpu in usage.cpu_s.items()}
    share = {name: proportional_mb(pid) for name, pid in stand.pids.items()}
    return Idle(usage.cpu_total / seconds, done.statements / seconds, memory, share, by_process)


async def take_grpc_create(stand: Stand, count: int) -> Quantiles:
    """Milliseconds of Create by gRPC, one at a time, each after the end of the last one."""
    channel = open_channel(stand.request_manager)
    stub = RequestManagerServiceStub(channel)
    times = []
    try:
        for _ in range(count):
            began = time.perf_counter()
            await stub.Create(rpc.CreateRequest(type="one-noop"), timeout=10)
            times.append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE)
    except grpc.aio.AioRpcError as failure:
        raise RuntimeError(f"create: {failure.details()}")
    finally:
        await channel.close()
    return quantiles(times)


def take_spinc(stand: Stand, runs: int) -> float:
    """Milliseconds from exec to exit of a bare spinc, the median."""
    spinc = str(Path(sys.executable).parent / "spinc")
    command = [spinc, "--addr", stand.request_manager]
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(1000 * (time.perf_counter() - began))
    return median(times)


def peak_of_this_process_mb() -> float:
    """Memory of the driver at most, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
