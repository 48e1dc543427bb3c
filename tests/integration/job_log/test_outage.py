from __future__ import annotations

import asyncio
import signal

import asyncpg
import grpc
import pytest
from tests.integration.job_log.conftest import (
    REQUEST,
    RunningJobLog,
    TailReader,
    entry,
    running_job_log,
)
from tests.postgres_fixtures import PostgresServer
from tests.waiting import until

from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.runtime import watchdog as pulse
from spincycle.v1 import job_log_service_pb2 as pb


async def test_nothing_is_acknowledged_during_an_outage_and_everything_recovers_afterwards(
    job_log: RunningJobLog, postgres: PostgresServer
) -> None:
    stream = job_log.stream()
    await stream.append(entry(1))
    following = job_log.tail(pb.TailRequest(request_id=REQUEST, follow=True))
    assert (await _next(following)).entry.position == 1

    await postgres.embedded.kill(signal.SIGQUIT)
    try:
        await stream.send(entry(2))
        settling = asyncio.create_task(stream.settle())
        await until(lambda: _unavailable(job_log))
        await until(lambda: _unhealthy(job_log))
        assert not settling.done()
    finally:
        await postgres.embedded.start()

    assert await settling == []
    assert await stream.append(entry(3)) == []
    assert [(await _next(following)).entry.position for _ in range(2)] == [2, 3]
    await until(job_log.healthy)
    assert len(await job_log.entries()) == 3


async def test_every_call_except_append_fails_at_once_during_an_outage(
    job_log: RunningJobLog, postgres: PostgresServer
) -> None:
    stub = job_log.stub
    await postgres.embedded.kill(signal.SIGQUIT)
    try:
        fence = journal_pb2.FenceRequest(
            fences=[journal_pb2.EpochFence(request_id=REQUEST, epoch=1)]
        )
        for call in (
            job_log.journal.Fence(fence),
            stub.GetEntry(pb.GetEntryRequest(request_id=REQUEST, job_id="j001")),
            stub.ListEntries(pb.ListEntriesRequest(request_id=REQUEST)),
            _next(job_log.tail(pb.TailRequest(request_id=REQUEST))),
            _next(job_log.tail(pb.TailRequest(request_id=REQUEST, follow=True))),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as away:
                await call
            assert away.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "DATABASE_UNAVAILABLE" in str(away.value.trailing_metadata())
    finally:
        await postgres.embedded.start()


async def test_a_batch_is_stored_even_if_its_runner_disconnects(
    job_log: RunningJobLog, connection: asyncpg.Connection
) -> None:
    stream = job_log.stream()
    async with connection.transaction():
        await connection.execute("LOCK TABLE job_log.entries")
        await stream.send(entry(1))
        await until(lambda: _append_is_held_up(connection))
        await stream.send(entry(2))
        await stream.send(entry(3))
        await job_log.journal.Fence(journal_pb2.FenceRequest())
        stream.call.cancel()

    await until(lambda: _has(job_log, ("j001", 1)))


async def test_a_stream_is_not_read_while_too_much_waits_for_its_commit(
    job_log: RunningJobLog, connection: asyncpg.Connection
) -> None:
    stream = job_log.stream()
    output = "x" * (1000 * 1000)
    sent = 0

    async def send() -> None:
        nonlocal sent
        for number in range(1, 31):
            await stream.send(entry(number, stdout=output))
            sent += 1

    async with connection.transaction():
        await connection.execute("LOCK TABLE job_log.entries")
        sending = asyncio.create_task(send())
        await until(lambda: sent >= 4)
        done, _ = await asyncio.wait([sending], timeout=1)
        assert not done
        assert sent < 20
    await sending

    assert await stream.settle() == []
    assert len(await job_log.entries()) == 30


async def test_a_job_log_acknowledges_read_batches_at_shutdown(
    job_log: RunningJobLog, connection: asyncpg.Connection
) -> None:
    stream = job_log.stream()
    async with connection.transaction():
        await connection.execute("LOCK TABLE job_log.entries")
        await stream.send(entry(1))
        await until(lambda: _append_is_held_up(connection))
        ending = asyncio.create_task(job_log.end())
        await job_log.shutdown.wait()

    assert await stream.settle() == []
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await stream.call.read()
    await ending

    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "SHUTTING_DOWN" in str(ended.value.trailing_metadata())


async def test_a_job_log_started_during_an_outage_serves_afterwards(
    database: str, postgres: PostgresServer
) -> None:
    await postgres.embedded.kill(signal.SIGQUIT)
    try:
        async with running_job_log(database) as job_log:
            stream = job_log.stream()
            await stream.send(entry(1))
            await until(lambda: _unavailable(job_log))
            assert not await job_log.healthy()

            await postgres.embedded.start()
            await until(job_log.healthy)
            assert await stream.settle() == []
    finally:
        if postgres.embedded._process is None:
            await postgres.embedded.start()


async def _next(call: TailReader) -> pb.TailEvent:
    event = await call.read()
    assert isinstance(event, pb.TailEvent)
    return event


async def _unavailable(job_log: RunningJobLog) -> bool:
    try:
        await job_log.stub.ListEntries(pb.ListEntriesRequest(request_id=REQUEST))
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


async def _unhealthy(job_log: RunningJobLog) -> bool:
    return not await job_log.healthy()


async def _has(job_log: RunningJobLog, identity: tuple[str, int]) -> bool:
    return identity in await job_log.entries()


async def _append_is_held_up(connection: asyncpg.Connection) -> bool:
    waiting: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation IS NOT NULL "
        "AND relation = 'job_log.entries'::regclass)"
    )
    return waiting


async def test_an_idle_job_log_detects_an_outage(
    job_log: RunningJobLog, postgres: PostgresServer
) -> None:
    await until(job_log.healthy)
    await postgres.embedded.kill(signal.SIGQUIT)
    try:
        await until(lambda: _unhealthy(job_log))
        assert await job_log.healthy("liveness")
    finally:
        await postgres.embedded.start()

    await until(job_log.healthy)


async def test_a_job_log_that_cannot_store_is_not_ready_and_still_alive(
    job_log: RunningJobLog, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "SLOW_AFTER", 0.2)
    await until(job_log.healthy)
    session = await asyncpg.connect(database)
    async with session.transaction():
        await session.execute("LOCK TABLE job_log.entries IN ACCESS EXCLUSIVE MODE")
        stream = job_log.stream()
        await stream.send(entry(1))

        await until(lambda: _unhealthy(job_log))
        assert await job_log.healthy("liveness")
    await session.close()

    assert await stream.settle() == []
    await until(job_log.healthy)
