"""A request is assigned only to runners that support the features of its chain."""

from __future__ import annotations

import asyncpg
from tests.integration.request_manager.conftest import Manager, SteeredRunner, until

from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2


async def requires(connection: asyncpg.Connection, request_id: str, *features: str) -> None:
    """Have a request require features, as a request of a newer version would."""
    await connection.execute(
        "UPDATE request_manager.requests SET required_features = $2 WHERE request_id = $1",
        request_id,
        list(features),
    )


async def waits(manager: Manager, request_id: str) -> str:
    response = await manager.stub.Explain(rpc.ExplainRequest(request_id=request_id))
    assert response.state == state_pb2.STATE_PENDING
    return response.message


async def test_a_request_waits_for_a_runner_that_supports_it_and_does_not_block_others(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    gated = (await manager.create()).request.id
    await requires(connection, gated, "gates", "locks")
    plain = (await manager.create()).request.id
    old = await manager.register(SteeredRunner("old"), features=["gates"])
    await until(lambda: plain in old.chains)

    assert await waits(manager, gated) == (
        "no live job runner supports locks, which the request requires: start one of the version "
        "that created it"
    )
    new = await manager.register(SteeredRunner("new"), features=["gates", "locks", "waves"])
    await until(lambda: gated in new.chains)
    assert gated not in old.chains


async def test_many_requests_that_no_runner_supports_do_not_hide_those_behind_them(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    first = (await manager.create()).request.id
    await connection.execute(
        "INSERT INTO request_manager.requests (request_id, type, state, created_at, total_jobs,"
        " spec_revision, plan_hash, priority, required_features)"
        " SELECT 'gated' || n, 'nap', 1, now(), 3, '', '', 100, '{gates}'"
        "   FROM generate_series(1, 500) AS n"
    )

    runner = await manager.register(SteeredRunner("runner"))

    await until(lambda: first in runner.chains)


async def test_a_refused_request_goes_to_another_runner(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    refusing = SteeredRunner("refusing")
    refusing.refuse_with = "FEATURE_NOT_SUPPORTED"
    await manager.register(refusing)
    request_id = (await manager.create()).request.id
    other = await manager.register(SteeredRunner("other"))

    await until(lambda: request_id in other.chains)


async def test_a_rerun_has_the_requirements_of_the_request(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    runner = await manager.register(SteeredRunner("runner"))
    request_id = (await manager.create()).request.id
    await until(lambda: request_id in runner.chains)
    await manager.finish(request_id, runner.chains[request_id], state_pb2.STATE_FAIL)
    await requires(connection, request_id, "gates")

    again = (await manager.stub.Rerun(rpc.RerunRequest(request_id=request_id))).request.id

    stored = "SELECT required_features FROM request_manager.requests WHERE request_id = $1"
    assert await connection.fetchval(stored, again) == ["gates"]
