"""With docs/how-to/database-roles.sql the services add to the audit log and cannot change it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    ShelvedJobLog,
    SteeredRunner,
    running_manager,
    until,
)
from tests.service_role import ROLE, service_role

from spincycle.request_manager.config import AuditConfig, RequestManagerConfig
from spincycle.runtime.config import DatabaseConfig, Secret
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2

LOCKED = ("request_manager.audit", "request_manager.audit_seals")


@pytest.fixture
async def service_dsn(database: str) -> AsyncIterator[str]:
    """The address of the database for the account of the services."""
    async with service_role(database) as dsn:
        yield dsn


async def test_a_request_manager_runs_with_the_privileges_of_the_service_role(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str], service_dsn: str
) -> None:
    limited = replace(
        config,
        database=DatabaseConfig(dsn=Secret(service_dsn), migrate=False),
        audit=AuditConfig(seal_interval=0.05),
        silence_limit=0.5,
        beat_interval=0.1,
    )
    connection = await asyncpg.connect(service_dsn)
    assert await connection.fetchval("SELECT current_user") == ROLE
    async with running_manager(limited, job_log[0]) as manager:
        runner = await manager.register(SteeredRunner("one"))
        request_id = (await manager.create()).request.id
        await until(lambda: request_id in runner.chains)
        # The runner sends no heartbeats, so the request is recovered.
        await manager.until_state(request_id, state_pb2.STATE_SUSPENDED)
        await manager.stub.Stop(rpc.StopRequest(request_id=request_id))

        async def sealed() -> bool:
            query = "SELECT COALESCE(sum(cardinality(audit_ids)), 0) >= 5 FROM " + LOCKED[1]
            return bool(await connection.fetchval(query))

        await until(sealed)
    await connection.close()


@pytest.mark.parametrize("table", LOCKED)
async def test_the_service_role_may_not_change_the_audit_log(service_dsn: str, table: str) -> None:
    connection = await asyncpg.connect(service_dsn)
    column = "reason" if table == LOCKED[0] else "key_id"
    for statement in (
        f"UPDATE {table} SET {column} = ''",
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
        f"DROP TABLE {table}",
        "SELECT setval('request_manager.audit_audit_id_seq', 1)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.execute(
        "INSERT INTO request_manager.audit (user_name, action, request_id) VALUES ('', '', '')"
    )
    assert await connection.fetchval("SELECT count(*) FROM request_manager.audit") == 1
    await connection.close()
