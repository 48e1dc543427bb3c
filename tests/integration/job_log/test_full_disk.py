from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from structlog.testing import capture_logs
from tests.integration.job_log.conftest import REQUEST, RunningJobLog, entry, running_job_log
from tests.postgres_fixtures import PostgresServer
from tests.small_disk import SmallDisk, small_disk
from tests.waiting import until

from spincycle.internal.v1 import journal_service_pb2 as journal_pb2

OUTPUT = "x" * 100_000


@pytest.fixture
async def disk(postgres: PostgresServer) -> AsyncIterator[SmallDisk]:
    async with small_disk(postgres) as disk:
        yield disk


async def test_entries_wait_for_disk_space_and_are_then_acknowledged(
    disk: SmallDisk,
) -> None:
    async with running_job_log(disk.dsn) as job_log:
        await until(job_log.healthy)
        stream = job_log.stream()
        assert await stream.append(entry(1)) == []
        with capture_logs() as logs:
            disk.fill()
            for number in range(2, 12):
                await stream.send(entry(number, stdout=OUTPUT))
            settling = asyncio.create_task(stream.settle())
            await until(lambda: is_unhealthy(job_log))
            assert await job_log.healthy("liveness")
            assert not settling.done()
            assert ("j001", 1) in await job_log.entries()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await fence_until_refused(job_log)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "disk full" in str(refused.value.details())

            disk.free()
            assert await settling == []
            await until(job_log.healthy)

        assert len(await job_log.entries()) == 11
        logged = [(log["event"], log["cause"]) for log in logs if log["log_level"] != "debug"]
        assert logged == [
            ("database unavailable", "disk full"),
            ("database available again", "disk full"),
        ]


async def fence_until_refused(job_log: RunningJobLog) -> None:
    for number in range(10_000):
        fence = journal_pb2.EpochFence(request_id=f"{REQUEST[:15]}{number:05}", epoch=1)
        await job_log.journal.Fence(journal_pb2.FenceRequest(fences=[fence]))


async def is_unhealthy(job_log: RunningJobLog) -> bool:
    return not await job_log.healthy()
