from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.message import Message
from tests.integration.job_log.conftest import REQUEST, RunningJobLog, entry

from spincycle.database.queries import load_queries
from spincycle.job_log.process import PACKAGE
from spincycle.model.state import State
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1.job_log_pb2 import JobLog

Listed = list[tuple[str, int]]


async def pages(job_log: RunningJobLog, query: pb.ListEntriesRequest) -> list[list[JobLog]]:
    """All pages, each as its entries."""
    found = []
    while True:
        response = await job_log.stub.ListEntries(query)
        found.append(list(response.entries))
        if not response.next_page_token:
            return found
        query.page_token = response.next_page_token


def names(entries: list[JobLog]) -> Listed:
    return [(one.job_id, one.try_number) for one in entries]


@pytest.fixture
async def filled(job_log: RunningJobLog) -> RunningJobLog:
    """25 entries: 5 tries of each of 5 jobs, journalled try by try, the odd tries failed."""
    stream = job_log.stream()
    position = 0
    for try_number in range(1, 6):
        for job in "cadbe":
            position += 1
            await stream.send(
                entry(
                    position,
                    job_id=f"job{job}",
                    try_=try_number,
                    state=State.FAIL if try_number % 2 else State.COMPLETE,
                    data=None if try_number % 2 else {"by": job},
                )
            )
    await stream.settle()
    return job_log


async def test_entries_are_listed_by_job_and_try(filled: RunningJobLog) -> None:
    (page,) = await pages(filled, pb.ListEntriesRequest(request_id=REQUEST))

    assert names(page) == [(f"job{job}", number) for job in "abcde" for number in range(1, 6)]


async def test_entries_are_listed_by_position(filled: RunningJobLog) -> None:
    query = pb.ListEntriesRequest(request_id=REQUEST, order=pb.ENTRY_ORDER_POSITION)

    (page,) = await pages(filled, query)

    assert [one.position for one in page] == list(range(1, 26))
    assert names(page)[:3] == [("jobc", 1), ("joba", 1), ("jobd", 1)]


@pytest.mark.parametrize("order", [pb.ENTRY_ORDER_JOB, pb.ENTRY_ORDER_POSITION])
@pytest.mark.parametrize("size", [1, 2, 5, 24, 25, 26])
async def test_pages_of_any_size_add_up_to_the_whole_list(
    filled: RunningJobLog, order: pb.EntryOrder.ValueType, size: int
) -> None:
    (whole,) = await pages(filled, pb.ListEntriesRequest(request_id=REQUEST, order=order))

    parts = await pages(
        filled, pb.ListEntriesRequest(request_id=REQUEST, order=order, page_size=size)
    )

    assert [one for part in parts for one in part] == whole
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert parts[-1]


@pytest.mark.parametrize("order", [pb.ENTRY_ORDER_JOB, pb.ENTRY_ORDER_POSITION])
async def test_a_list_can_be_filtered_by_job_and_failure(
    filled: RunningJobLog, order: pb.EntryOrder.ValueType
) -> None:
    query = pb.ListEntriesRequest(
        request_id=REQUEST, order=order, job_id="jobb", failed_only=True, page_size=2
    )

    parts = await pages(filled, query)

    assert [names(part) for part in parts] == [[("jobb", 1), ("jobb", 3)], [("jobb", 5)]]


@pytest.mark.parametrize("parts", [set(), {"output"}, {"data"}, {"output", "data"}])
async def test_output_and_data_are_included_only_on_demand(
    job_log: RunningJobLog, parts: set[str]
) -> None:
    await job_log.stream().append(entry(1, stdout="out", stderr="err", data={"a": 1}))
    which: dict[str, Any] = {f"include_{part}": True for part in parts}

    ((listed,),) = await pages(job_log, pb.ListEntriesRequest(request_id=REQUEST, **which))
    tailed = await job_log.tail(pb.TailRequest(request_id=REQUEST, **which)).read()

    for one in (listed, tailed.entry):
        assert (one.stdout, one.stderr) == (("out", "err") if "output" in parts else ("", ""))
        assert one.HasField("data") == ("data" in parts)
        assert one.name == "job-1"


async def test_tail_bundles_what_is_stored(job_log: RunningJobLog) -> None:
    await job_log.stream().append(*(entry(number) for number in range(1, 301)))

    responses = [
        response async for response in job_log.stub.Tail(pb.TailRequest(request_id=REQUEST))
    ]

    events = [event for response in responses for event in response.events]
    assert [event.entry.position for event in events] == list(range(1, 301))
    assert len(responses) < 10


async def test_a_page_is_limited_in_size_but_has_at_least_one_entry(
    job_log: RunningJobLog,
) -> None:
    stream = job_log.stream()
    megabyte = "x" * (1000 * 1000)
    for number in range(1, 6):
        await stream.send(entry(number, stdout=megabyte, stderr=megabyte, error=megabyte))
    await stream.send(entry(6), entry(7, stdout=megabyte), entry(8), entry(9, stdout=megabyte))
    await stream.settle()

    for order in (pb.ENTRY_ORDER_JOB, pb.ENTRY_ORDER_POSITION):
        parts = await pages(
            job_log, pb.ListEntriesRequest(request_id=REQUEST, order=order, include_output=True)
        )
        assert [len(part) for part in parts] == [1, 1, 1, 1, 1, 4]
    narrow = pb.ListEntriesRequest(request_id=REQUEST)
    assert [len(part) for part in await pages(job_log, narrow)] == [2, 2, 5]


async def test_an_unknown_request_has_no_entries(job_log: RunningJobLog) -> None:
    assert await pages(job_log, pb.ListEntriesRequest(request_id="nobody")) == [[]]
    assert await job_log.entries("nobody") == []


@pytest.mark.parametrize(
    "token",
    ["x", "%%%", "AAAA", urlsafe_b64encode(b'["x","joba",1]').decode(), "null", "é" * 9],
)
async def test_a_forged_page_token_is_rejected(filled: RunningJobLog, token: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await filled.stub.ListEntries(pb.ListEntriesRequest(request_id=REQUEST, page_token=token))

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "page token was not issued by this service" in str(refused.value.details())


async def test_a_page_token_is_valid_for_its_own_list_only(filled: RunningJobLog) -> None:
    first = await filled.stub.ListEntries(pb.ListEntriesRequest(request_id=REQUEST, page_size=1))

    for other in (
        pb.ListEntriesRequest(request_id="other"),
        pb.ListEntriesRequest(request_id=REQUEST, failed_only=True),
        pb.ListEntriesRequest(request_id=REQUEST, order=pb.ENTRY_ORDER_POSITION),
        pb.ListEntriesRequest(request_id=REQUEST, job_id="joba"),
    ):
        other.page_token = first.next_page_token
        with pytest.raises(grpc.aio.AioRpcError, match="page token"):
            await filled.stub.ListEntries(other)


async def test_the_last_try_of_a_job_is_returned_by_default(
    filled: RunningJobLog,
) -> None:
    last = await filled.stub.GetEntry(pb.GetEntryRequest(request_id=REQUEST, job_id="joba"))
    second = pb.GetEntryRequest(request_id=REQUEST, job_id="joba")
    second.try_number = 2

    assert last.entry.try_number == 5
    assert (await filled.stub.GetEntry(second)).entry.try_number == 2


@pytest.mark.parametrize(("job_id", "number"), [("joba", 6), ("jobx", 0)])
async def test_a_missing_try_is_not_found(filled: RunningJobLog, job_id: str, number: int) -> None:
    query = pb.GetEntryRequest(request_id=REQUEST, job_id=job_id)
    query.try_number = number

    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await filled.stub.GetEntry(query)

    assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    assert missing.value.details() == f"job {job_id} not found in request {REQUEST}"


async def test_an_invalid_id_is_rejected(job_log: RunningJobLog) -> None:
    calls: list[tuple[Callable[[Any], Awaitable[object]], Message]] = [
        (job_log.stub.ListEntries, pb.ListEntriesRequest()),
        (job_log.stub.ListEntries, pb.ListEntriesRequest(request_id="a", job_id="\0")),
        (job_log.stub.GetEntry, pb.GetEntryRequest(request_id="a" * 257, job_id="b")),
        (job_log.stub.GetEntry, pb.GetEntryRequest(request_id="a")),
    ]
    for call, query in calls:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(query)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("query", "index", "values"),
    [
        (
            "list_by_job",
            "entries_pkey",
            {"after_job_id": "", "after_try": -1, "last_job_id": "\U0010ffff"},
        ),
        (
            "list_by_job",
            "entries_pkey",
            {"after_job_id": "j050", "after_try": -1, "last_job_id": "j050"},
        ),
        (
            "list_by_position",
            "entries_by_position",
            {"after_position": 50, "last_position": 2**63 - 1, "job_id": "", "ended_after": -1},
        ),
    ],
)
@pytest.mark.parametrize("plan", ["force_generic_plan", "force_custom_plan"])
async def test_lists_are_read_in_the_order_of_their_index(
    connection: asyncpg.Connection, query: str, index: str, values: dict[str, object], plan: str
) -> None:
    await fill(connection)
    statement = load_queries(PACKAGE)[query]
    values = values | {
        "request_id": "r0003",
        "failed_only": False,
        "with_output": True,
        "with_data": True,
        "limit": 101,
        "max_size": 2**21,
    }
    await connection.execute(f"SET plan_cache_mode = {plan}")

    explained = await connection.fetchval(
        f"EXPLAIN (FORMAT JSON) {statement.sql}", *statement.bind(values)
    )

    steps = list(walk(json.loads(explained)[0]["Plan"]))
    assert [step["Index Name"] for step in steps if "Index Name" in step] == [index]
    assert {"Seq Scan", "Bitmap Heap Scan"}.isdisjoint(step["Node Type"] for step in steps)
    (below_limit,) = (step["Plans"][0] for step in steps if step["Node Type"] == "Limit")
    assert below_limit["Node Type"] == "Index Scan"


@pytest.mark.parametrize("plan", ["force_generic_plan", "force_custom_plan"])
async def test_one_entry_and_the_last_position_are_read_by_index(
    connection: asyncpg.Connection, plan: str
) -> None:
    await fill(connection)
    queries = load_queries(PACKAGE)
    await connection.execute(f"SET plan_cache_mode = {plan}")

    for name, index, values in (
        ("get_entry", "entries_pkey", {"request_id": "r0003", "job_id": "j050", "try": 0}),
        ("last_position", "entries_by_position", {"request_id": "r0003"}),
    ):
        query = queries[name]
        explained = await connection.fetchval(
            f"EXPLAIN (FORMAT JSON) {query.sql}", *query.bind(values)
        )
        steps = list(walk(json.loads(explained)[0]["Plan"]))
        assert [step["Index Name"] for step in steps if "Index Name" in step] == [index]


async def fill(connection: asyncpg.Connection) -> None:
    """20 requests of 1000 jobs."""
    await connection.execute(
        "INSERT INTO job_log.entries SELECT 'r' || lpad(r::text, 4, '0'),"
        " 'j' || lpad(j::text, 3, '0'), 1, j + 1, 1, 0, 0, 0, 1, 3, false, 'name', 'type', 'seq1',"
        " '', '', '', NULL FROM generate_series(1, 20) AS r, generate_series(0, 999) AS j"
    )
    await connection.execute("ANALYZE job_log.entries")


def walk(step: dict[str, Any]) -> list[dict[str, Any]]:
    return [step, *(inner for part in step.get("Plans", ()) for inner in walk(part))]
