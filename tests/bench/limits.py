"""What this machine can do at most, taken in the same run as what is made of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Self

import asyncpg
from tests.bench.bare_batch import BareBatch, take_bare_batch
from tests.bench.echo import METHOD
from tests.bench.http_client import HttpConnection, get_head
from tests.bench.stand import REPOSITORY, Stand

import grpc  # isort: skip # after the module that chooses who watches gRPC's sockets

from spincycle.dev.ports import free_port

PAUSE = 0.02
"""Seconds in which nothing happens before a call whose time is that of a call alone."""

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings, each measured alone.

    Attributes:
        echo_rate: GET a second through an ASGI application and a gRPC echo, 16 connections.
        commits: INSERT and commit a second on one connection.
        batch_rows: rows a second that one connection inserts by unnest, 200 a commit.
        python_ms: milliseconds of one CPU for a fixed loop of Python.
        paused_call_ms: a gRPC call that does nothing, 20 ms after the last one; the median.
        paused_commit_ms: INSERT and commit, 20 ms after the last ones; the median.
        step: what one entry of a chain takes at least, from its sending to its acknowledgement.
        batch: the same of eight entries together.
    """

    echo_rate: float
    commits: float
    batch_rows: float
    python_ms: float
    paused_call_ms: float
    paused_commit_ms: float
    step: BareBatch
    batch: BareBatch


async def take_limits(stand: Stand, seconds: float) -> Limits:
    """Measure each for some seconds."""
    async with Echo() as echo:
        rate = await get_rate("127.0.0.1", echo.port, "/echo", 16, seconds)
        call = await echo.paused_call()
    connection = await asyncpg.connect(stand.database.dsn())
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS limit_rows (id bigint, words text)")
        one = await connection.prepare("INSERT INTO limit_rows VALUES ($1, $2)")
        many = await connection.prepare(
            "INSERT INTO limit_rows SELECT * FROM unnest($1::bigint[], $2::text[])"
        )
        commits = await _rate(seconds, lambda: one.fetch(1, "some words"))
        commit = await paused(lambda: one.fetch(1, "some words"))
        numbers, texts = list(range(_BATCH)), ["some words"] * _BATCH
        batches = await _rate(seconds, lambda: many.fetch(numbers, texts))
        await connection.execute("DROP TABLE limit_rows")
    finally:
        await connection.close()
    step, batch = [await take_bare_batch(stand, rows, seconds) for rows in (1, 8)]
    return Limits(rate, commits, batches * _BATCH, 1000 * _python(), call, commit, step, batch)


async def get_rate(host: str, port: int, path: str, connections: int, seconds: float) -> float:
    """GET of one path a second, each answered 200, with so many connections."""
    clients = [await HttpConnection.open(host, port) for _ in range(connections)]
    head = get_head(path)
    count = 0
    until = time.perf_counter() + seconds

    async def work(client: HttpConnection) -> None:
        nonlocal count
        while time.perf_counter() < until:
            status, body = await client.ask(head)
            if status != 200:  # a status
                raise RuntimeError(f"{path} answered {status}: {body[:200]!r}")
            count += 1

    began = time.perf_counter()
    await asyncio.gather(*(work(client) for client in clients))
    took = time.perf_counter() - began
    for client in clients:
        client.close()
    return count / took


class Echo:
    """A bare application and a bare gRPC server, as two processes."""

    def __init__(self) -> None:
        self.port = free_port()
        self._grpc_port = free_port()
        self._children: list[subprocess.Popen[bytes]] = []

    async def __aenter__(self) -> Self:
        grpc_port = str(self._grpc_port)
        for command in (["grpc", grpc_port], ["http", str(self.port), grpc_port]):
            program = [sys.executable, "-m", "tests.bench.echo", *command]
            self._children.append(subprocess.Popen(program, cwd=REPOSITORY))
        await _until_answered(self.port)
        await get_rate("127.0.0.1", self.port, "/warm", 16, 0.5)
        return self

    async def __aexit__(self, *_: object) -> None:
        for child in self._children:
            child.kill()
            child.wait()

    async def paused_call(self) -> float:
        """Milliseconds of a call of the server, as `paused` takes them."""
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self._grpc_port}")
        ask: Any = channel.unary_unary(METHOD)
        try:
            return await paused(lambda: ask(b"a few words"))
        finally:
            await channel.close()

    @property
    def pids(self) -> dict[str, int]:
        """Both processes."""
        server, application = self._children
        return {"server": server.pid, "application": application.pid}


async def _until_answered(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                client = await HttpConnection.open("127.0.0.1", port)
                status, _ = await client.ask(get_head("/"))
            except OSError:
                await asyncio.sleep(0.05)
                continue
            client.close()
            if status == 200:  # a status
                return


async def paused(do: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds of what is done after a pause of 20 ms, the median of many."""
    times = []
    for _ in range(100):
        await asyncio.sleep(PAUSE)
        began = time.perf_counter()
        await do()
        times.append(1000 * (time.perf_counter() - began))
    return median(times)


async def _rate(seconds: float, do: Callable[[], Awaitable[object]]) -> float:
    count = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        await do()
        count += 1
    return count / (time.perf_counter() - began)


def _python() -> float:
    """CPU seconds, the best of some, that a fixed piece of plain Python takes."""
    best = 60.0
    for _ in range(5):
        began = time.process_time()
        kept: dict[int, list[int]] = {}
        for number in range(200_000):
            kept.setdefault(number & 1023, []).append(number * 3 % 7)
        best = min(best, time.process_time() - began)
    return best
