"""The largest batches, pages and streams hold up no other call of the job log.

A pause is CPU time of the loop's thread between two turns, so that a busy machine counts for
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import grpc
import pytest
from tests.integration.job_log.conftest import REQUEST, RunnerStream, entry
from tests.measured_loop import Measured, longest_pause
from tests.stream_messages import read_message
from tests.waiting import until

from spincycle.dev.ports import free_port
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.job_log.config import JobLogConfig
from spincycle.job_log.process import serve
from spincycle.job_log.service import LARGEST_PAGE, TAIL_PAGE
from spincycle.model.job_chain import Value
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State
from spincycle.rpc.channel import open_channel
from spincycle.rpc.text_bounds import MAX_BATCH
from spincycle.runtime.config import DatabaseConfig, InternalConfig, Secret
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1 import job_output_pb2
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub

pytestmark = pytest.mark.timed


@pytest.fixture
async def measured(
    database: str,
) -> AsyncIterator[tuple[Measured, JobLogServiceStub, JournalServiceStub]]:
    config = JobLogConfig(
        listen=f"127.0.0.1:{free_port()}",
        internal=InternalConfig(listen=f"127.0.0.1:{free_port()}", allow_unidentified=True),
        database=DatabaseConfig(dsn=Secret(database), max_connections=4),
        grace=2.0,
    )
    async with (
        Measured(partial(serve, config)) as measured,
        open_channel(config.internal.listen) as channel,
    ):
        stub = JobLogServiceStub(channel)

        async def is_ready() -> bool:
            try:
                await stub.ListEntries(
                    pb.ListEntriesRequest(
                        request_id=REQUEST, include_output=True, include_data=True
                    ),
                    timeout=5,
                )
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(is_ready)
        measured.pause()
        yield measured, stub, JournalServiceStub(channel)


def many() -> list[JournalEntry]:
    return [entry(number) for number in range(1, MAX_BATCH + 1)]


def texts() -> list[JournalEntry]:
    text = "ä\0" * (1024 * 1024)
    return [entry(number, stdout=text, stderr=text, error=text) for number in range(1, 3)]


def values() -> list[JournalEntry]:
    return [entry(data={"flags": [True] * 1_000_000})]


def maps() -> list[JournalEntry]:
    data: dict[str, Value] = {f"{number:06}": {"a": number} for number in range(100_000)}
    return [entry(1, data=data)]


def unfit() -> list[JournalEntry]:
    return [entry(number, state=State.UNKNOWN) for number in range(1, MAX_BATCH + 1)]


@pytest.mark.parametrize("make", [many, texts, values, maps, unfit])
async def test_the_largest_batches_do_not_block_the_event_loop(
    measured: tuple[Measured, JobLogServiceStub, JournalServiceStub],
    make: Callable[[], list[JournalEntry]],
) -> None:
    log, stub, journal = measured
    stream = RunnerStream(journal)
    pauses: dict[str, float] = {}
    await stream.send(*make())
    refused = await stream.settle()
    pauses["append"] = log.pause()
    for order in (pb.ENTRY_ORDER_JOB, pb.ENTRY_ORDER_POSITION):
        request = pb.ListEntriesRequest(
            request_id=REQUEST,
            page_size=LARGEST_PAGE,
            order=order,
            include_output=True,
            include_data=True,
        )
        await stub.ListEntries(request)
        pauses[f"list {order}"] = log.pause()
    read = 0
    whole = pb.TailRequest(request_id=REQUEST, include_output=True, include_data=True)
    async for response in stub.Tail(whole):
        read += len(response.events)
        if read >= 5 * TAIL_PAGE:
            break
    pauses["tail"] = log.pause()

    assert bool(refused) == (make is unfit)
    limit = longest_pause()
    assert {name: pause for name, pause in pauses.items() if pause > limit} == {}


@pytest.mark.parametrize(("size", "count"), [(40, 200_000), (30 * 1024 * 1024, 1)])
async def test_the_largest_output_does_not_block_the_event_loop(
    measured: tuple[Measured, JobLogServiceStub, JournalServiceStub], size: int, count: int
) -> None:
    log, stub, journal = measured
    tail = stub.Tail(pb.TailRequest(request_id=REQUEST, follow=True, include_live_output=True))
    reading = asyncio.ensure_future(read_message(tail))
    offer = journal.OfferOutput()
    while REQUEST not in (await read_message(offer)).request_ids:
        pass
    pieces = [_piece(number * size, b"x" * size) for number in range(count)]
    pieces.append(_piece(count * size, b"last"))
    await offer.write(journal_pb2.OfferOutputRequest(pieces=pieces))
    while not (await reading).events[-1].output.data.endswith(b"last"):
        reading = asyncio.ensure_future(read_message(tail))
    tail.cancel()
    offer.cancel()

    assert log.pause() <= longest_pause()


def _piece(offset: int, data: bytes) -> job_output_pb2.JobOutput:
    piece = job_output_pb2.JobOutput(
        request_id=REQUEST,
        job_id="j",
        stream=job_output_pb2.OUTPUT_STREAM_STDOUT,
        offset=offset,
        data=data,
    )
    piece.try_number = 1
    return piece
