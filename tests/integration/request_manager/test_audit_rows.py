"""Operations, and steps of the installation, are in the audit log with the callers' names."""

from __future__ import annotations

import getpass
from typing import Any

import asyncpg
import grpc
import pytest
from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    running_manager,
    until,
)

from spincycle.request_manager.config import RequestManagerConfig
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2

CALL = (("x-request-id", "call-7"),)


async def rows(connection: asyncpg.Connection, *columns: str) -> list[tuple[Any, ...]]:
    """Return columns of all audit rows, oldest first."""
    query = f"SELECT {', '.join(columns)} FROM request_manager.audit ORDER BY audit_id"
    return [tuple(row) for row in await connection.fetch(query)]


async def test_a_creation_is_audited_with_caller_type_plan_and_call(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    preview = rpc.PlanRequest(type="nap")
    preview.args.update({"ms": "1"})
    plan = await manager.stub.Plan(preview)
    create = rpc.CreateRequest(type="nap", expected_plan_hash=plan.plan.plan_hash)
    create.args.update({"ms": "1"})

    created = await manager.stub.Create(create, metadata=CALL)

    (row,) = await connection.fetch("SELECT * FROM request_manager.audit")
    assert row["peer"].startswith("ipv4:127.0.0.1:")
    assert row["at"] is not None
    expected = {
        "user_name": getpass.getuser(),
        "authenticator": "local-user",
        "roles": ["admin"],
        "action": "start",
        "request_type": "nap",
        "request_id": created.request.id,
        "job_id": "",
        "plan_hash": plan.plan.plan_hash,
        "reason": "",
        "allowed": True,
        "call_id": "call-7",
        "on_behalf_of": "",
    }
    assert {name: row[name] for name in expected} == expected


async def test_a_plan_that_nobody_approved_is_not_in_the_row(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    await manager.create()

    assert await rows(connection, "plan_hash") == [("",)]


async def test_each_change_of_a_request_is_one_row_with_its_type(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id
    await manager.stub.Suspend(rpc.SuspendRequest(request_id=request_id, reason="later"))
    await manager.stub.Resume(rpc.ResumeRequest(request_id=request_id))
    await manager.stub.Stop(rpc.StopRequest(request_id=request_id, reason="enough"))
    rerun = rpc.RerunRequest(request_id=request_id)
    new = (await manager.stub.Rerun(rerun)).request.id

    found = await rows(connection, "user_name", "action", "request_id", "request_type", "allowed")

    user = getpass.getuser()
    assert found == [
        (user, action, id_, "nap", True)
        for action, id_ in [
            ("start", request_id),
            ("suspend", request_id),
            ("resume", request_id),
            ("stop", request_id),
            ("rerun", request_id),
            ("start", new),
        ]
    ]
    calls = [row[0] for row in await rows(connection, "call_id")]
    assert len(set(calls)) == 5
    assert all(calls)


async def test_a_change_that_is_not_made_leaves_no_row(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create(idempotency_key="k")).request.id
    again = await manager.create(idempotency_key="k")
    await manager.stub.Resume(rpc.ResumeRequest(request_id=request_id))
    with pytest.raises(grpc.aio.AioRpcError):
        await manager.stub.Stop(rpc.StopRequest(request_id="unknown"))

    assert again.request.id == request_id
    assert await rows(connection, "action") == [("start",)]


async def test_the_recovery_of_a_request_is_audited_step_by_step(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str], database: str
) -> None:
    quick = replace(config, silence_limit=0.5, beat_interval=0.1)
    async with running_manager(quick, job_log[0]) as manager:
        runner = await manager.register(SteeredRunner("lost"))
        request_id = (await manager.create()).request.id
        await until(lambda: request_id in runner.chains)
        await manager.until_state(request_id, state_pb2.STATE_SUSPENDED)

    connection = await asyncpg.connect(database)
    found = await rows(connection, "action", "request_id", "user_name", "reason")
    await connection.close()

    steps = {action: (id_, user, reason) for action, id_, user, reason in found}
    assert list(steps) == ["start", "evict", "fence", "recover"]
    assert steps["evict"][2].startswith("runner lost at ")
    assert steps["fence"] == (request_id, "", "runner lost is lost; epoch raised to 2")
    assert steps["recover"][:2] == (request_id, "")
