"""Numbers that cannot be kept exactly, and requests whose stored data cannot be read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from tests.integration.request_manager.conftest import Manager, SteeredRunner, until
from tests.integration.request_manager.refusal import reason
from tests.integration.request_manager.watch_call import running_request, watching

from spincycle.v1 import request_event_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

RUNNING = state_pb2.STATE_RUNNING
COMPLETE = state_pb2.STATE_COMPLETE

STORED_NUMBER = "1234567890123456800"
"""What jsonb makes of 1234567890123456789 after it was rounded to a double."""

ROUNDED = str(int(float(1234567890123456789)))

LARGE_NUMBERS = (
    "UPDATE request_manager.request_archives SET args = jsonb_set(args, '{0,value}', "
    f"""'[{STORED_NUMBER}, {{"ms": -{STORED_NUMBER}}}, 1e300, 7]')"""
)
"""Stores an argument as earlier versions did."""

NOT_ARGUMENTS = """UPDATE request_manager.request_archives SET args = '[{"nome": 1}]'"""
NOT_A_CHAIN = r"UPDATE request_manager.request_archives SET job_chain = '\xff'"
NOT_A_COUNT = "UPDATE request_manager.requests SET total_jobs = -1"
SPOILED = pytest.mark.parametrize("statement", [NOT_ARGUMENTS, NOT_A_COUNT])


async def spoil(database: str, request_id: str, statement: str) -> None:
    """Change what is stored of a request."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(f"{statement} WHERE request_id = $1", request_id)
    finally:
        await connection.close()


def errors_of(events: list[request_event_pb2.RequestEvent], request_id: str) -> list[str]:
    """Reasons of the errors that were reported with a request."""
    return [
        request.error.reason
        for event in events
        for request in (event.snapshot.request, event.request)
        if event.request_id == request_id and request.HasField("error")
    ]


@pytest.mark.parametrize("number", [2.0**53, -(2.0**53), 1234567890123456789.0, 1e300])
@pytest.mark.parametrize("plan", [False, True])
async def test_a_number_that_cannot_be_represented_exactly_is_refused(
    manager: Manager, number: float, plan: bool
) -> None:
    args = Struct()
    args.update({"ms": {"list": [number]}})
    call: Callable[[Any], Awaitable[object]] = manager.stub.Plan if plan else manager.stub.Create
    message = rpc.PlanRequest if plan else rpc.CreateRequest

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(message(type="nap", args=args))

    assert reason(refused) == "INVALID_ARGS"
    assert 'argument "ms": list[0]' in str(refused.value.details())
    assert "write it as text" in str(refused.value.details())
    assert not (await manager.stub.List(rpc.ListRequest())).requests


async def test_numbers_that_earlier_versions_stored_are_read_as_text_by_every_call(
    manager: Manager, database: str
) -> None:
    created = await manager.create(idempotency_key="once")
    request_id = created.request.id
    await spoil(database, request_id, LARGE_NUMBERS)

    got = (await manager.stub.Get(rpc.GetRequest(request_id=request_id))).request
    replayed = await manager.create(idempotency_key="once")
    async with watching(manager) as received:
        watched = received.events[0].snapshot.request
    async with watching(manager, request_ids=[request_id]) as received:
        named = received.events[0].snapshot.request

    assert (replayed.existed, replayed.request.id) == (True, request_id)
    for request in (got, replayed.request, watched, named):
        first, second, third, fourth = request.args[0].value.list_value.values
        assert first.string_value == ROUNDED
        assert second.struct_value["ms"] == f"-{ROUNDED}"
        assert third.string_value == "1e+300"
        assert fourth.number_value == 7
        assert not request.HasField("error")


@SPOILED
async def test_one_request_that_cannot_be_read_is_reported_where_it_is_watched_with_others(
    manager: Manager, database: str, statement: str
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    spoiled, sound = [await running_request(manager, runner) for _ in range(2)]
    await spoil(database, spoiled, statement)

    async with (
        watching(manager) as by_filter,
        watching(manager, request_ids=[spoiled, sound]) as by_id,
    ):
        await manager.finish(spoiled, 1)
        await manager.finish(sound, 1)
        for received in (by_filter, by_id):
            await until(lambda received=received: COMPLETE in received.states_of(sound))
            await until(lambda received=received: COMPLETE in received.states_of(spoiled))
        later = await running_request(manager, runner)
        await until(lambda: RUNNING in by_filter.states_of(later))

    for received in (by_filter, by_id):
        assert received.failure is None
        assert "REQUEST_UNREADABLE" in errors_of(received.events, spoiled)
        assert errors_of(received.events, sound) == []


@SPOILED
async def test_a_request_that_becomes_unreadable_while_it_is_created_ends_no_open_stream(
    manager: Manager, database: str, statement: str
) -> None:
    async with watching(manager) as received:
        spoiled = (await manager.create()).request.id
        await spoil(database, spoiled, statement)
        runner = await manager.register(SteeredRunner("one"))
        await until(lambda: spoiled in runner.chains)
        await manager.finish(spoiled, 1)
        sound = await running_request(manager, runner)
        await until(lambda: COMPLETE in received.states_of(spoiled))
        await until(lambda: RUNNING in received.states_of(sound))
        assert received.failure is None


async def test_a_damaged_chain_is_reported_with_its_snapshot_and_others_have_theirs(
    manager: Manager, database: str
) -> None:
    spoiled, sound = [(await manager.create()).request.id for _ in range(2)]
    await spoil(database, spoiled, NOT_A_CHAIN)

    async with (
        watching(manager, include_job_chain=True) as by_filter,
        watching(manager, include_job_chain=True, request_ids=[spoiled, sound]) as by_id,
    ):
        await until(lambda: len(by_filter.events) > 1 and len(by_id.events) > 1)

    for received in (by_filter, by_id):
        snapshots = {event.request_id: event.snapshot for event in received.events}
        assert snapshots[spoiled].request.error.reason == "REQUEST_UNREADABLE"
        assert len(snapshots[sound].job_chain.jobs) == 3
    for call in (
        manager.stub.Get(rpc.GetRequest(request_id=spoiled, include_job_chain=True)),
        manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=spoiled)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert reason(refused) == "REQUEST_UNREADABLE"
        assert spoiled in str(refused.value.details())


async def test_a_list_holds_a_request_that_cannot_be_read_with_its_error(
    manager: Manager, database: str
) -> None:
    spoiled, sound = [(await manager.create()).request.id for _ in range(2)]
    await spoil(database, spoiled, NOT_A_COUNT)

    listed = {one.id: one for one in (await manager.stub.List(rpc.ListRequest())).requests}

    assert set(listed) == {spoiled, sound}
    assert listed[spoiled].error.reason == "REQUEST_UNREADABLE"
    assert listed[spoiled].error.request_id == spoiled
    assert (listed[spoiled].type, listed[spoiled].state) == ("nap", state_pb2.STATE_PENDING)
    assert not listed[sound].HasField("error")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await manager.stub.Get(rpc.GetRequest(request_id=spoiled))
    assert reason(refused) == "REQUEST_UNREADABLE"


async def test_a_field_that_a_later_version_stores_of_an_argument_is_left_out(
    manager: Manager, database: str
) -> None:
    request_id = (await manager.create()).request.id
    statement = """UPDATE request_manager.request_archives
                      SET args = jsonb_set(args, '{0,later}', '"something"')"""
    await spoil(database, request_id, statement)

    got = (await manager.stub.Get(rpc.GetRequest(request_id=request_id))).request

    assert got.args[0].value.string_value == "1"


async def test_a_rerun_of_a_request_with_such_numbers_can_be_read_too(
    manager: Manager, database: str
) -> None:
    runner = await manager.register(SteeredRunner("one"))
    request_id = await running_request(manager, runner)
    await manager.finish(request_id, 1, state_pb2.STATE_FAIL)
    await spoil(database, request_id, LARGE_NUMBERS)

    rerun = (await manager.stub.Rerun(rpc.RerunRequest(request_id=request_id))).request
    got = (await manager.stub.Get(rpc.GetRequest(request_id=rerun.id))).request

    assert got.args[0].value.list_value.values[0].string_value == ROUNDED
