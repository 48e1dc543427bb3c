"""The disk of the whole database server, with its write-ahead log, fills up and is freed.

Faults made here, chosen before any of them was run:

1. All room is taken under load for longer than the silence limit of runners, then freed. The server
   lives: rows cannot be stored, and reads succeed.
2. The same, and another program writes to the write-ahead log until it needs a segment that does
   not fit: the server panics, and cannot be started again until there is room. A supervisor
   restarts it repeatedly.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import grpc
import httpx
import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.explained import explaining
from tests.chaos.load import Load
from tests.chaos.storm import Storm
from tests.small_disk import SmallDisk, server_on_small_disk
from tests.waiting import until

from spincycle.dev.postgres_binaries import PostgresError
from spincycle.v1 import request_manager_service_pb2 as rpc

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

FULL = 12.0
"""Seconds for which the disk is full; runners are evicted after 8 s of silence."""

MEGABYTE_OF_LOG = "SELECT pg_logical_emit_message(false, 'chaos', repeat('x', 1048576))"


@pytest.fixture
async def disk(home: Path, shape: Shape) -> AsyncIterator[tuple[Cluster, SmallDisk]]:
    """A cluster whose database server has its data on a small file system."""
    cluster = Cluster(home, shape)
    async with server_on_small_disk(cluster.database, home / "postgres") as disk:
        try:
            await cluster.start()
            yield cluster, disk
        finally:
            disk.free()
            await cluster.stop()


class Supervisor:
    """Starts the database again whenever it has ended.

    Attributes:
        failures: how often it could not be started.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._database = cluster.database
        self.ends = 0
        self.failures = 0

    async def run(self) -> None:
        """Supervise until cancelled."""
        while True:
            if not self._database.running:
                self.ends += 1
                try:
                    await self._database.start()
                except PostgresError:
                    self.failures += 1
            await asyncio.sleep(0.5)


async def write_log_until_the_server_panics(cluster: Cluster) -> None:
    """Write to the write-ahead log until the connection breaks."""
    with suppress(asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
        connection = await cluster.connect()
        while True:
            await connection.execute(MEGABYTE_OF_LOG)


@pytest.mark.parametrize("log", [False, True], ids=["tables", "write-ahead-log"])
async def test_requests_wait_while_the_disk_is_full_and_all_end_once_it_is_freed(
    disk: tuple[Cluster, SmallDisk], log: bool
) -> None:
    cluster, small = disk
    load = Load(cluster.request_manager, seed=1)
    storm, supervisor = Storm(cluster, load), Supervisor(cluster)
    pids = [member.pid for member in cluster.members]
    refusals: list[str] = []

    async def is_refused() -> bool:
        """Whether a create is refused; how is noted."""
        try:
            await load.stub.Create(rpc.CreateRequest(type="once"), timeout=10)
        except grpc.aio.AioRpcError as failure:
            refusals.append(f"{failure.code().name}: {failure.details()}")
            return True
        return False

    async def is_ready() -> bool:
        async with httpx.AsyncClient(base_url=cluster.gateway) as http:
            return (await http.get("/readyz")).status_code == httpx.codes.OK

    async def is_not_ready() -> bool:
        return not await is_ready()

    async def faults() -> None:
        await asyncio.sleep(3)
        small.fill()
        if log:
            await write_log_until_the_server_panics(cluster)
        await until(is_refused)
        await until(is_not_ready)
        for _ in range(round(FULL)):
            await asyncio.sleep(1)
            await is_refused()
        assert await is_not_ready()
        small.free()
        await until(is_ready)
        await asyncio.sleep(3)

    supervising = asyncio.create_task(supervisor.run())
    async with explaining(load) as explained:
        await storm.blow(faults, rate=8, ms=200)
    supervising.cancel()
    await asyncio.gather(supervising, return_exceptions=True)

    verdict = await storm.verdict()
    kinds = sorted(set(refusals))
    print(
        verdict.figures(),
        dict(load.answers),
        f"the server ended {supervisor.ends} times, {supervisor.failures} starts failed",
        *kinds,
        *(f"{count} x {text}" for text, count in explained.texts.items()),
        sep="\n",
    )
    assert verdict.wrong == []
    assert explained.empty == []
    assert [each for each in kinds if not each.startswith("UNAVAILABLE: the database")] == []
    assert log or any("disk full" in each for each in kinds)
    assert [member.pid for member in cluster.members] == pids
    assert logged_more_than_once(cluster) == []
    await load.close()


def logged_more_than_once(cluster: Cluster) -> list[str]:
    """Outages that a service logged again before it had logged that they were over."""
    problems = []
    for member in cluster.members:
        lasting: dict[str, bool] = defaultdict(bool)
        for line in member.log.read_text(errors="replace").splitlines():
            logged = re.search(r"database (unavailable|available again)", line)
            if logged is None:
                continue
            cause = re.search(r"cause\W+([\w ]+)", line)
            assert cause, line
            begins = logged.group(1) == "unavailable"
            if lasting[cause.group(1)] == begins:
                problems.append(f"{member.service.name}: {line}")
            lasting[cause.group(1)] = begins
        problems += [f"{member.service.name}: {one} lasts" for one, on in lasting.items() if on]
    return problems
