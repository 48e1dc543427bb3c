from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.integration.job_log.conftest import (
    REQUEST,
    RunningJobLog,
    StartJobLog,
    TailReader,
    a_lock_is_waited_for,
    append,
    entry,
)
from tests.waiting import until

from spincycle.v1 import job_log_service_pb2 as pb


async def take(call: TailReader, count: int) -> list[int]:
    """Positions of the next entries."""
    found = []
    for _ in range(count):
        event = await call.read()
        assert isinstance(event, pb.TailEvent)
        found.append(event.entry.position)
    return found


async def followers(connection: asyncpg.Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM job_log.followers")
    return count


@asynccontextmanager
async def notifications(connection: asyncpg.Connection) -> AsyncIterator[list[str]]:
    """Collect the notifications between job logs."""
    payloads: list[str] = []

    def on_notification(*args: object) -> None:
        payloads.append(str(args[3]))

    await connection.add_listener("spincycle_job_log", on_notification)
    yield payloads
    await connection.remove_listener("spincycle_job_log", on_notification)


async def test_a_tail_without_follow_ends_after_the_last_stored_entry(
    job_log: RunningJobLog,
) -> None:
    await job_log.stream().append(*(entry(number) for number in range(1, 1203)))

    call = job_log.tail(pb.TailRequest(request_id=REQUEST, after_position=2))

    assert await take(call, 1200) == list(range(3, 1203))
    assert await call.read() is grpc.aio.EOF


async def test_a_follower_gets_stored_entries_and_then_new_ones_in_order(
    job_log: RunningJobLog,
) -> None:
    stream = job_log.stream()
    await stream.append(entry(1), entry(2))
    call = job_log.tail(pb.TailRequest(request_id=REQUEST, follow=True))
    assert await take(call, 2) == [1, 2]

    for number in range(3, 300):
        await stream.send(entry(number), entry(number, "another-request"))

    assert await take(call, 297) == list(range(3, 300))
    call.cancel()
    await stream.settle()


async def test_a_follower_gets_entries_appended_by_another_copy(
    start: StartJobLog,
) -> None:
    local, remote = await start(), await start()
    call = local.tail(pb.TailRequest(request_id=REQUEST, follow=True))
    stream = remote.stream()

    for number in range(1, 20):
        await stream.append(entry(number))
        assert await take(call, 1) == [number]


async def test_no_entry_is_missed_between_stored_and_new_ones(
    start: StartJobLog,
) -> None:
    local, remote = await start(), await start()
    stream = remote.stream()
    calls = []
    for number in range(1, 150):
        await stream.send(entry(number))
        if number % 10 == 0:
            request = pb.TailRequest(request_id=REQUEST, follow=True, after_position=number - 5)
            calls.append((number - 4, local.tail(request)))
    await stream.settle()

    for first, call in calls:
        assert await take(call, 150 - first) == list(range(first, 150))


async def test_an_append_in_flight_when_a_follower_subscribes_is_not_missed(
    job_log: RunningJobLog, connection: asyncpg.Connection, migrated: str
) -> None:
    slow = await asyncpg.connect(migrated)
    try:
        async with slow.transaction():
            assert await append(slow, 1, epoch=1) == 1
            call = job_log.tail(pb.TailRequest(request_id=REQUEST, follow=True))
            await until(lambda: a_lock_is_waited_for(connection))
    finally:
        await slow.close()

    assert await take(call, 1) == [1]
    call.cancel()


async def test_a_tail_can_be_filtered_by_job_and_time(job_log: RunningJobLog) -> None:
    stream = job_log.stream()
    await stream.append(
        entry(1), entry(2, finished_at=5), entry(3), entry(4, job_id="j001", try_=2)
    )
    of_job = pb.TailRequest(request_id=REQUEST, job_id="j001", follow=True)
    of_time = pb.TailRequest(request_id=REQUEST, since=Timestamp(seconds=1))

    call = job_log.tail(of_job)
    assert await take(call, 2) == [1, 4]
    await stream.append(entry(5), entry(6, job_id="j001", try_=3))
    assert await take(call, 1) == [6]
    call.cancel()

    assert [event.entry.position async for event in job_log.tail(of_time)] == [1, 3, 4, 5, 6]


async def test_no_notifications_are_sent_without_followers(
    job_log: RunningJobLog, connection: asyncpg.Connection
) -> None:
    async with notifications(connection) as payloads:
        await job_log.stream().append(entry(1))
        call = job_log.tail(pb.TailRequest(request_id="another", follow=True))
        await until(lambda: _follows(connection))
        await job_log.stream().append(entry(2), entry(3))
        await until(lambda: payloads)
        call.cancel()
        await until(lambda: _nobody_follows(connection))
        await job_log.stream().append(entry(4))
        await connection.execute("SELECT pg_notify('spincycle_job_log', 'last')")
        await until(lambda: "last" in payloads)

    assert payloads == [REQUEST, "last"]


async def test_an_append_of_very_many_requests_notifies_all_followers(
    job_log: RunningJobLog, connection: asyncpg.Connection
) -> None:
    call = job_log.tail(pb.TailRequest(request_id="request-0400", follow=True))
    await until(lambda: _follows(connection))

    async with notifications(connection) as payloads:
        await job_log.stream().append(*(entry(1, f"request-{n:04}") for n in range(1000)))
        assert await take(call, 1) == [1]

    assert payloads == [""]


async def test_the_registration_of_a_dead_copy_is_removed(
    job_log: RunningJobLog, connection: asyncpg.Connection
) -> None:
    await connection.execute("INSERT INTO job_log.followers VALUES (1, '2020-01-01')")

    call = job_log.tail(pb.TailRequest(request_id=REQUEST, follow=True))
    await until(lambda: _pid_is_not(connection, 1))

    assert await followers(connection) == 1
    call.cancel()


async def test_a_follower_continues_after_its_listening_session_was_terminated(
    job_log: RunningJobLog, connection: asyncpg.Connection
) -> None:
    call = job_log.tail(pb.TailRequest(request_id=REQUEST, follow=True))
    await until(lambda: _follows(connection))

    await connection.execute("SELECT pg_terminate_backend(pid) FROM job_log.followers")
    await job_log.stream().append(entry(1))

    assert await take(call, 1) == [1]


async def test_a_follower_stream_ends_with_shutting_down_at_shutdown(
    job_log: RunningJobLog, connection: asyncpg.Connection
) -> None:
    call = job_log.tail(pb.TailRequest(request_id=REQUEST, follow=True))
    await until(lambda: _follows(connection))

    ending = asyncio.create_task(job_log.end())
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await call.read()
    await ending

    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "SHUTTING_DOWN" in str(ended.value.trailing_metadata())
    assert await followers(connection) == 0


async def _follows(connection: asyncpg.Connection) -> bool:
    return await followers(connection) == 1


async def _nobody_follows(connection: asyncpg.Connection) -> bool:
    return await followers(connection) == 0


async def _pid_is_not(connection: asyncpg.Connection, pid: int) -> bool:
    return bool(await connection.fetchval("SELECT min(pid) <> $1 FROM job_log.followers", pid))
