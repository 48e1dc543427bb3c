"""Bounds of texts and arguments; data stored before the bounds can be read."""

from __future__ import annotations

import asyncpg
import grpc
import pytest
from google.protobuf import struct_pb2
from google.rpc import error_details_pb2, status_pb2
from tests.integration.request_manager.conftest import Manager, SteeredRunner, until

from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.rpc.limits import MAX_VALUES, REASON_BYTES
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import request_report_pb2, state_pb2

STATUS = "grpc-status-details-bin"


def field_of(refused: grpc.aio.AioRpcError) -> str:
    """Return the field that an error names."""
    metadata = dict(refused.trailing_metadata() or ())
    bad = error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(metadata[STATUS]).details:
        if detail.Is(bad.DESCRIPTOR):
            detail.Unpack(bad)
    return str(bad.field_violations[0].field)


@pytest.mark.parametrize("what", ["list", "map", "lists"])
async def test_arguments_with_too_many_values_are_refused(manager: Manager, what: str) -> None:
    values = struct_pb2.Value()
    for number in range(MAX_VALUES // (2 if what == "lists" else 1) + 1):
        if what == "map":
            values.struct_value.fields[str(number)].bool_value = True
        elif what == "list":
            values.list_value.values.add().bool_value = True
        else:
            values.list_value.values.add().list_value.values.add().bool_value = True
    args = struct_pb2.Struct(fields={"ms": values})

    for call in (
        manager.stub.Create(rpc.CreateRequest(type="nap", args=args)),
        manager.stub.Plan(rpc.PlanRequest(type="nap", args=args)),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="more than 250000 values") as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field_of(refused.value) == "args"


async def test_a_long_reason_or_id_is_refused_by_its_field(manager: Manager) -> None:
    created = await manager.create()
    stop = manager.stub.Stop(
        rpc.StopRequest(request_id=created.request.id, reason="x" * (REASON_BYTES + 1))
    )
    register = manager.coordination.Register(
        coordination_pb2.RegisterRequest(runner_id="r" * 2_000_000, address="127.0.0.1:1")
    )

    for call, field in ((stop, "reason"), (register, "runner_id")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field_of(refused.value) == field
    assert await manager.state(created.request.id) == state_pb2.STATE_PENDING


async def test_a_request_ends_however_long_its_reason_is(manager: Manager) -> None:
    runner = await manager.register(SteeredRunner("r1"))
    request_id = (await manager.create()).request.id
    await until(lambda: request_id in runner.chains)
    finish = request_report_pb2.FinishRequest(
        request_id=request_id,
        state=state_pb2.STATE_FAIL,
        epoch=1,
        state_message="job a failed: " + "x" * 5_000_000 + " at last",
    )
    finish.finished_at.GetCurrentTime()

    await manager.coordination.Finish(finish)

    request = (await manager.stub.Get(rpc.GetRequest(request_id=request_id))).request
    assert request.state == state_pb2.STATE_FAIL
    assert len(request.state_message.encode()) <= REASON_BYTES
    assert request.state_message.startswith("job a failed: x")
    assert request.state_message.endswith("x at last")


async def test_reasons_of_older_versions_do_not_keep_a_client_with_default_limits_from_reading(
    manager: Manager, database: str
) -> None:
    request_id = (await manager.create()).request.id
    connection = await asyncpg.connect(database)
    await connection.execute(
        "UPDATE request_manager.requests SET reason = repeat('x', 5000000) WHERE request_id = $1",
        request_id,
    )
    await connection.close()

    async with grpc.aio.insecure_channel(manager.config.listen) as channel:
        stub = type(manager.stub)(channel)
        got = await stub.Get(rpc.GetRequest(request_id=request_id))
        listed = await stub.List(rpc.ListRequest())
        async for response in stub.Watch(rpc.WatchRequest(request_ids=[request_id])):
            watched = response.events[0].snapshot.request
            break

    reasons = [one.state_message for one in (got.request, listed.requests[0], watched)]
    assert [len(reason.encode()) <= REASON_BYTES for reason in reasons] == [True] * 3
    assert {reason.startswith("xxx") for reason in reasons} == {True}


async def test_a_page_fits_a_client_with_default_limits_whatever_the_reasons_are(
    manager: Manager, database: str
) -> None:
    await manager.create()
    connection = await asyncpg.connect(database)
    await connection.execute(
        "INSERT INTO request_manager.requests (request_id, type, state, user_name, created_at, "
        "finished_at, total_jobs, priority, spec_revision, plan_hash, given_args, content_hash, "
        "reason) SELECT 'copy' || n, type, 6, user_name, created_at, now(), total_jobs, priority, "
        "spec_revision, plan_hash, given_args, content_hash, repeat('x', 4096) "
        "FROM request_manager.requests, generate_series(1, 1100) AS n"
    )
    count = await connection.fetchval("SELECT count(*) FROM request_manager.requests")
    await connection.close()

    found: list[str] = []
    async with grpc.aio.insecure_channel(manager.config.listen) as channel:
        stub, call = type(manager.stub)(channel), rpc.ListRequest()
        call.page_size = 1000
        while True:
            page = await stub.List(call)
            found += [request.id for request in page.requests]
            call.page_token = page.next_page_token
            if not call.page_token:
                break

    assert len(found) == len(set(found)) == count
