from __future__ import annotations

import asyncio
import itertools

import asyncpg
import grpc
import pytest
from tests.integration.job_log.conftest import (
    REQUEST,
    RunningJobLog,
    StartJobLog,
    a_lock_is_waited_for,
    append,
    entry,
)
from tests.waiting import until

from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.request_manager.storage.job_log_client import FENCES_AT_ONCE, JobLogClient
from spincycle.rpc.status import from_rpc_error

OTHER = "c0n4t8k9o5vg0a1b2c3e"


async def fence(job_log: RunningJobLog, epoch: int, request_id: str = REQUEST) -> None:
    await job_log.journal.Fence(
        journal_pb2.FenceRequest(
            fences=[journal_pb2.EpochFence(request_id=request_id, epoch=epoch)]
        )
    )


async def test_an_entry_of_a_lower_epoch_is_refused_with_the_current_epoch(
    job_log: RunningJobLog,
) -> None:
    await fence(job_log, 3)

    refused = await job_log.stream().append(
        entry(1, epoch=2), entry(2, epoch=3), entry(3, epoch=4), entry(4, OTHER, epoch=1)
    )

    assert [(one.job_id, one.error.reason, one.current_epoch) for one in refused] == [
        ("j001", "STALE_EPOCH", 3)
    ]
    assert await job_log.entries() == [("j002", 1), ("j003", 1)]
    assert await job_log.entries(OTHER) == [("j004", 1)]


async def test_a_lower_or_equal_fence_changes_nothing(
    job_log: RunningJobLog,
) -> None:
    for epoch in (5, 2, 5):
        await fence(job_log, epoch)

    assert len(await job_log.stream().append(entry(1, epoch=4))) == 1
    assert len(await job_log.stream().append(entry(1, epoch=5))) == 0


async def test_the_highest_of_several_fences_of_one_request_counts(job_log: RunningJobLog) -> None:
    fences = [journal_pb2.EpochFence(request_id=REQUEST, epoch=epoch) for epoch in (2, 7, 3)]
    await job_log.journal.Fence(journal_pb2.FenceRequest(fences=fences))

    assert (await job_log.stream().append(entry(1, epoch=6)))[0].current_epoch == 7


async def test_an_entry_stored_before_the_fence_can_be_resent(
    job_log: RunningJobLog,
) -> None:
    await job_log.stream().append(entry(1))
    await fence(job_log, 2)

    refused = await job_log.stream().append(entry(1), entry(2))

    assert [one.job_id for one in refused] == ["j002"]


async def test_a_fence_waits_for_the_append_in_flight(
    job_log: RunningJobLog, connection: asyncpg.Connection, migrated: str
) -> None:
    slow = await asyncpg.connect(migrated)
    try:
        async with slow.transaction():
            assert await append(slow, 1, epoch=1) == 1
            fencing = asyncio.create_task(fence(job_log, 2))
            await until(lambda: a_lock_is_waited_for(connection))
            assert not fencing.done()
        await fencing
    finally:
        await slow.close()

    assert await job_log.entries() == [("j001", 1)]


async def test_an_append_that_starts_during_a_fence_is_refused(
    job_log: RunningJobLog, connection: asyncpg.Connection, migrated: str
) -> None:
    fencing = await asyncpg.connect(migrated)
    stream = job_log.stream()
    try:
        async with fencing.transaction():
            await fencing.execute("SELECT job_log.fence($1, $2)", [REQUEST], [2])
            await stream.send(entry(1, epoch=1), entry(2, epoch=2))
            await until(lambda: a_lock_is_waited_for(connection))
    finally:
        await fencing.close()

    assert [one.job_id for one in await stream.settle()] == ["j001"]
    assert await job_log.entries() == [("j002", 1)]


async def test_appends_do_not_wait_for_one_another(
    migrated: str, connection: asyncpg.Connection
) -> None:
    other = await asyncpg.connect(migrated)
    try:
        async with connection.transaction(), other.transaction():
            assert await append(connection, 1, epoch=1) == 1
            assert await append(other, 2, epoch=1) == 1
    finally:
        await other.close()


async def test_no_entry_of_the_old_epoch_appears_after_the_fence(
    start: StartJobLog,
) -> None:
    copies = [await start(), await start()]
    requests = [f"request{number:013}" for number in range(20)]
    streams = [copy.stream() for copy in copies]
    fenced = asyncio.Event()

    async def zombie(which: int) -> None:
        numbers = itertools.count(1 + which, 2)
        while not fenced.is_set():
            number = next(numbers)
            # One entry at a time, so that the reader below can keep up.
            of = requests[number // 2 % len(requests)]
            await streams[which].append(entry(number, of, epoch=1))

    zombies = [asyncio.create_task(zombie(which)) for which in range(2)]
    seen = {}
    for request_id in requests:
        await until(lambda of=request_id: copies[0].entries(of))
        await fence(copies[1], 2, request_id)
        seen[request_id] = await copies[0].entries(request_id)
    fenced.set()
    await asyncio.gather(*zombies)

    assert {one.error.reason for stream in streams for one in stream.refused} == {"STALE_EPOCH"}
    assert {request_id: await copies[0].entries(request_id) for request_id in seen} == seen


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (journal_pb2.EpochFence(epoch=1), "fences[1].request_id"),
        (journal_pb2.EpochFence(request_id="a\0", epoch=1), "fences[1].request_id"),
        (journal_pb2.EpochFence(request_id="a", epoch=2**63), "fences[1].epoch"),
    ],
)
async def test_an_invalid_fence_is_rejected_by_field(
    job_log: RunningJobLog, wrong: journal_pb2.EpochFence, field: str
) -> None:
    right = journal_pb2.EpochFence(request_id=REQUEST, epoch=9)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await job_log.journal.Fence(journal_pb2.FenceRequest(fences=[right, wrong]))

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in str(refused.value.trailing_metadata())
    assert await job_log.stream().append(entry(1, epoch=1)) == []


async def in_force(job_log: RunningJobLog, epoch: int) -> int:
    fences = [journal_pb2.EpochFence(request_id=REQUEST, epoch=epoch)]
    response = await job_log.journal.Fence(journal_pb2.FenceRequest(fences=fences))
    return max([epoch, *(higher.epoch for higher in response.higher)])


async def test_a_lower_fence_returns_the_current_epoch(job_log: RunningJobLog) -> None:
    assert await in_force(job_log, 7) == 7
    assert await in_force(job_log, 7) == 7
    assert await in_force(job_log, 3) == 7


@pytest.mark.parametrize("epoch", [2**16 + 1, 2**17, 2**62])
async def test_a_fence_that_no_request_manager_can_have_committed_is_rejected(
    job_log: RunningJobLog, epoch: int
) -> None:
    await fence(job_log, 4)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await fence(job_log, epoch)

    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert from_rpc_error(failure.value, "job log", "").reason == "FENCE_TOO_HIGH"
    assert await in_force(job_log, 1) == 4


async def test_above_the_free_epochs_each_fence_must_be_the_next_epoch(
    job_log: RunningJobLog,
) -> None:
    await fence(job_log, 2**16)
    await fence(job_log, 2**16 + 1)
    await fence(job_log, 2**16 + 1)
    with pytest.raises(grpc.aio.AioRpcError):
        await fence(job_log, 2**16 + 3)

    assert await in_force(job_log, 1) == 2**16 + 1


async def test_a_request_manager_reaches_an_epoch_above_the_free_ones_step_by_step(
    job_log: RunningJobLog,
) -> None:
    client = JobLogClient(job_log.address)

    assert await client.fence(REQUEST, 2**16 + 5) == 2**16 + 5
    assert await client.epoch_in_force(REQUEST) == 2**16 + 5
    assert await client.fence(REQUEST, 3) == 2**16 + 5
    await client.close()


async def test_a_journal_far_behind_the_epoch_of_its_request_is_fenced_in_several_calls(
    job_log: RunningJobLog,
) -> None:
    client = JobLogClient(job_log.address)
    epoch = 2**16 + FENCES_AT_ONCE + 5

    assert await client.fence(REQUEST, epoch) == 2**16 + FENCES_AT_ONCE
    assert await client.fence(REQUEST, epoch) == epoch
    await client.close()
