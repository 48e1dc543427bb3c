from __future__ import annotations

from dataclasses import replace
from typing import Any

import asyncpg
import grpc
import pytest
from tests.integration.job_log.conftest import REQUEST, RunningJobLog, StartJobLog, entry

from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.model.state import State
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.wire.journal import decode_entry, encode_entry


async def stored(job_log: RunningJobLog, number: int = 1) -> pb.GetEntryResponse:
    return await job_log.stub.GetEntry(
        pb.GetEntryRequest(request_id=REQUEST, job_id=f"j{number:03}")
    )


async def test_an_entry_is_stored_to_the_last_nanosecond_and_byte(job_log: RunningJobLog) -> None:
    sent = entry(
        exit=-(2**63),
        state=State.FAIL,
        error="it broke\n",
        stderr="ümläut ✓",
        data={"host": "web1", "n": 3, "deep": [{"a": None}], "nul": "a\0b"},
        final=True,
        epoch=7,
        sequence_try=4,
        try_=2**32 - 1,
    )

    assert await job_log.stream().append(sent) == []

    assert decode_entry((await stored(job_log)).entry) == sent


async def test_every_batch_is_acknowledged_and_its_entries_are_stored(
    job_log: RunningJobLog,
) -> None:
    stream = job_log.stream()
    for number in range(1, 101, 4):
        await stream.send(*(entry(number + place) for place in range(4)))
    await stream.settle()

    assert await job_log.entries() == [(f"j{number:03}", 1) for number in range(1, 101)]


async def test_an_empty_batch_is_acknowledged(job_log: RunningJobLog) -> None:
    assert await job_log.stream().append() == []


async def test_the_same_entry_again_is_acknowledged_and_changes_nothing(
    job_log: RunningJobLog,
) -> None:
    sent = entry(data={"b": 1, "a": [2]})
    await job_log.stream().append(sent)
    before = await stored(job_log)

    assert await job_log.stream().append(sent) == []
    assert await job_log.stream().append(sent, sent, entry(2), sent) == []

    assert await stored(job_log) == before
    assert await job_log.entries() == [("j001", 1), ("j002", 1)]


async def test_a_different_entry_with_the_same_identity_is_refused_and_the_rest_of_its_batch_stored(
    job_log: RunningJobLog,
) -> None:
    await job_log.stream().append(entry(2))

    refused = await job_log.stream().append(entry(1), replace(entry(2), exit=1), entry(3))

    assert [(one.job_id, one.try_number, one.error.reason) for one in refused] == [
        ("j002", 1, "ENTRY_CONFLICT")
    ]
    assert refused[0].error.http_status == 409
    assert await job_log.entries() == [("j001", 1), ("j002", 1), ("j003", 1)]
    assert (await stored(job_log, 2)).entry.exit == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "other"},
        {"started_at": 0},
        {"error": "x"},
        {"data": {}},
        {"epoch": 2},
        {"final": True},
        {"sequence_try": 2},
        {"position": 9},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_an_entry_with_any_different_field_is_refused(
    job_log: RunningJobLog, changed: dict[str, Any]
) -> None:
    await job_log.stream().append(entry())

    refused = await job_log.stream().append(entry(**changed))

    assert [one.error.reason for one in refused] == ["ENTRY_CONFLICT"]


async def test_a_position_of_another_entry_is_refused(job_log: RunningJobLog) -> None:
    await job_log.stream().append(entry(1))

    refused = await job_log.stream().append(entry(2, position=1))

    assert refused[0].error.reason == "INVALID_ENTRY"
    assert refused[0].error.message == (
        f"position 1 of request {REQUEST} already belongs to try 1 of job j001"
    )


async def test_an_unknown_state_is_refused(job_log: RunningJobLog) -> None:
    unplaced = encode_entry(entry(1, position=0, epoch=0))
    unplaced.state = 200  # type: ignore[assignment] # what a caller of REST may send
    runner = job_log.stream()
    runner.batches = 1

    await runner.call.write(journal_pb2.AppendRequest(batch=1, entries=[unplaced]))
    refused = await runner.settle()

    assert [(one.error.reason, one.error.message) for one in refused] == [
        ("INVALID_ENTRY", "state must be COMPLETE, FAIL or STOPPED")
    ]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"request_id": ""}, "request_id is empty"),
        ({"job_id": "x" * 257}, "job_id has 257 bytes; it may have at most 256"),
        ({"request_id": "ä" * 129}, "request_id has 258 bytes; it may have at most 256"),
        ({"job_id": "a\0b"}, "job_id contains a NUL character"),
        ({"position": 2**63}, "position or epoch is 2^63 or more"),
        ({"state": State.RUNNING}, "state must be COMPLETE, FAIL or STOPPED"),
        ({"state": State.UNKNOWN}, "state must be COMPLETE, FAIL or STOPPED"),
        ({"try_": 0}, "try is 0"),
        ({"finished_at": 10**19}, "started_at or finished_at is not within the years 1678 to 2262"),
    ],
)
async def test_an_invalid_entry_is_refused_alone_with_the_reason(
    job_log: RunningJobLog, changed: dict[str, Any], problem: str
) -> None:
    refused = await job_log.stream().append(entry(1), entry(2, **changed), entry(3))

    assert [(one.error.reason, one.error.message) for one in refused] == [
        ("INVALID_ENTRY", problem)
    ]
    assert await job_log.entries() == [("j001", 1), ("j003", 1)]


async def test_an_entry_rejected_by_the_database_does_not_affect_the_others(
    job_log: RunningJobLog, connection: asyncpg.Connection
) -> None:
    await connection.execute(
        "ALTER TABLE job_log.entries ADD CHECK (name <> 'job-13'), ADD CHECK (name <> 'job-14')"
    )

    refused = await job_log.stream().append(*(entry(number) for number in range(1, 40)))

    assert [(one.job_id, one.error.reason) for one in refused] == [
        ("j013", "INVALID_ENTRY"),
        ("j014", "INVALID_ENTRY"),
    ]
    assert len(await job_log.entries()) == 37


async def test_nul_characters_are_replaced_by_a_visible_symbol(job_log: RunningJobLog) -> None:
    assert await job_log.stream().append(entry(stdout="a\0b", error="\0", name="n\0")) == []

    found = (await stored(job_log)).entry
    assert (found.stdout, found.error, found.name) == ("a␀b", "␀", "n␀")


async def test_long_output_keeps_its_start_and_end_around_a_mark(
    job_log: RunningJobLog,
) -> None:
    long = entry(stdout="head" + "x" * (2 * 1024 * 1024) + "tail")
    assert await job_log.stream().append(long) == []
    assert await job_log.stream().append(long) == []

    found = (await stored(job_log)).entry.stdout
    assert len(found) < 1024 * 1024 + 100
    assert found.startswith("head")
    assert found.endswith("tail")
    assert "\n[... 1048584 bytes cut ...]\n" in found


async def test_refused_entries_of_a_shared_statement_are_returned_to_their_own_runner(
    job_log: RunningJobLog,
) -> None:
    await job_log.stream().append(entry(1))
    streams = [job_log.stream() for _ in range(8)]
    for number, stream in enumerate(streams):
        await stream.send(entry(1, exit=number), entry(10 + number))

    refused = [await stream.settle() for stream in streams]

    assert [len(of_stream) for of_stream in refused] == [0, 1, 1, 1, 1, 1, 1, 1]
    assert len(await job_log.entries()) == 9


async def test_batches_must_be_numbered_without_gaps(job_log: RunningJobLog) -> None:
    call = job_log.journal.Append()
    await call.write(journal_pb2.AppendRequest(batch=1, entries=[encode_entry(entry(1))]))
    await call.write(journal_pb2.AppendRequest(batch=3, entries=[encode_entry(entry(2))]))

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        [answer async for answer in call]

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "expected batch 2, but received batch 3" in str(refused.value.details())
    assert await job_log.entries() == [("j001", 1)]


async def test_a_stream_that_the_runner_ends_is_acknowledged_to_its_end(
    job_log: RunningJobLog,
) -> None:
    stream = job_log.stream()
    await stream.send(entry(1))
    await stream.call.done_writing()
    await stream.settle()

    assert await stream.call.read() is grpc.aio.EOF
    assert await stream.call.code() is grpc.StatusCode.OK


async def test_an_entry_without_position_gets_the_next_one(job_log: RunningJobLog) -> None:
    await job_log.stream().append(entry(7))
    unplaced = [entry(n, position=0, epoch=0, try_=0, state=State.UNKNOWN) for n in (8, 9)]

    assert await job_log.stream().append(*unplaced) == []
    assert await job_log.stream().append(*unplaced) == []

    assert await job_log.entries() == [("j007", 1), ("j008", 0), ("j009", 0)]


async def test_two_copies_store_the_same_entries_once(start: StartJobLog) -> None:
    first, second = await start(), await start()
    one, other = first.stream(), second.stream()
    for number in range(1, 200):
        await one.send(entry(number))
        await other.send(entry(number))

    assert await one.settle() == []
    assert await other.settle() == []
    assert len(await first.entries()) == 199


async def test_entries_without_position_of_two_copies_get_distinct_positions(
    start: StartJobLog, connection: asyncpg.Connection
) -> None:
    first, second = await start(), await start()
    one, other = first.stream(), second.stream()
    for number in range(1, 60):
        await one.send(entry(2 * number, position=0))
        await other.send(entry(2 * number + 1, position=0))

    assert await one.settle() == []
    assert await other.settle() == []
    assert len(await first.entries()) == 118
