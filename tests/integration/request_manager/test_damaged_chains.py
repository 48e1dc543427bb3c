"""Stored chains that cannot be read delay no other request, and are not retried for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
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
from spincycle.request_manager.storage.job_log_client import FENCES_AT_ONCE
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2

DAMAGE = b"\xff\xff\xff"
DAMAGE_ARCHIVE = """
UPDATE request_manager.request_archives SET job_chain = $2 WHERE request_id = $1
"""
DAMAGE_STATE = """
UPDATE request_manager.suspended_job_chains SET suspended_job_chain = $2 WHERE request_id = $1
"""
LOST = """
UPDATE request_manager.requests
   SET runner_id = 'dead', epoch = 1, orphaned = true, claimed_until = now()
 WHERE request_id = $1
"""
FAR_AHEAD = """
UPDATE request_manager.requests
   SET state = 2, runner_id = 'dead', epoch = $2, orphaned = true, claimed_until = now()
 WHERE request_id = $1
"""


@pytest.fixture
async def manager(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[Manager]:
    """A request manager that evicts no silent runner."""
    async with running_manager(replace(config, silence_limit=3600.0), job_log[0]) as running:
        yield running


async def test_a_request_whose_archived_chain_is_damaged_fails_with_the_reason(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    damaged = (await manager.create()).request.id
    sound = (await manager.create()).request.id
    await connection.execute(DAMAGE_ARCHIVE, damaged, DAMAGE)

    await manager.register(SteeredRunner("first"))

    await manager.until_state(damaged, state_pb2.STATE_FAIL)
    request = (await manager.stub.Get(rpc.GetRequest(request_id=damaged))).request
    assert request.state_message.startswith("its archived chain is damaged: ")
    second = await manager.register(SteeredRunner("second"))
    await until(lambda: sound in second.resumed)


async def test_a_request_whose_saved_state_is_damaged_is_recovered_from_its_journal(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    requests = [(await manager.create()).request.id for _ in range(2)]
    for request_id in requests:
        await connection.execute(LOST, request_id)
    for request_id in requests:
        await manager.until_state(request_id, state_pb2.STATE_SUSPENDED)
    await connection.execute(DAMAGE_STATE, requests[0], DAMAGE)

    runner = await manager.register(SteeredRunner("runner"))

    await until(lambda: set(requests) <= set(runner.resumed))


async def test_a_request_whose_archived_chain_is_damaged_is_explained_without_its_jobs(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id
    await connection.execute(DAMAGE_ARCHIVE, request_id, DAMAGE)

    response = await manager.stub.Explain(rpc.ExplainRequest(request_id=request_id))

    assert response.message == (
        "there is no live job runner to run the request; what its jobs wait for is not known: its "
        "stored chain is damaged"
    )
    assert not response.jobs


async def test_a_request_whose_epoch_is_far_ahead_of_its_journal_is_recovered(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id
    await connection.execute(LOST, request_id)
    await manager.until_state(request_id, state_pb2.STATE_SUSPENDED)
    await connection.execute(FAR_AHEAD, request_id, 2**16 + 2 * FENCES_AT_ONCE)

    await manager.until_state(request_id, state_pb2.STATE_SUSPENDED)

    assert manager.job_log.fences[request_id] == 2**16 + 2 * FENCES_AT_ONCE
