"""ListAudit: the audit log for admins, by pages and filters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc
import pytest
from tests.integration.request_manager.conftest import Manager, until

from spincycle.access.caller import Caller
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.rpc.caller_metadata import assertion_of
from spincycle.rpc.channel import open_channel
from spincycle.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    spec_service_pb2,
    spec_service_pb2_grpc,
)
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import request_manager_service_pb2_grpc as rpc_grpc

RESTRICTED = """
sequences:
  deploy:
    request: true
    acl:
      - role: dev
        ops: [start]
    args:
      required:
        - name: ms
    nodes:
      rest:
        category: job
        type: sleep
        args:
          - expected: duration
            given: ms
"""

ADMIN = Caller("root", ("admin",), "token-file", "10.0.0.1:7")
DEV = Caller("dana", ("dev",), "token-file", "10.0.0.2:7")
STRANGER = Caller("eve", ("sales", "guests"), "token-file", "10.0.0.3:7")

OLD = "INSERT INTO request_manager.audit (at, user_name, action, request_id) "


@pytest.fixture
def config(config: RequestManagerConfig) -> RequestManagerConfig:
    (config.specs_dir / "restricted.yaml").write_text(RESTRICTED)
    return config


class Audited:
    """Calls a request manager as several callers."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub = rpc_grpc.RequestManagerServiceStub(channel)
        self.audit = audit_service_pb2_grpc.AuditServiceStub(channel)
        self.specs = spec_service_pb2_grpc.SpecServiceStub(channel)

    async def create(self, caller: Caller) -> str:
        message = rpc.CreateRequest(type="deploy")
        message.args.update({"ms": "1"})
        return (await self.stub.Create(message, metadata=assertion_of(caller))).request.id

    async def page(
        self,
        size: int = 0,
        token: str = "",
        caller: Caller = ADMIN,
        caller_name: str = "",
        **which: Any,
    ) -> audit_service_pb2.ListAuditResponse:
        message = audit_service_pb2.ListAuditRequest(
            filter=audit_service_pb2.AuditFilter(caller=caller_name, **which),
            page_size=size,
            page_token=token,
        )
        return await self.audit.ListAudit(message, metadata=assertion_of(caller))

    async def listed(self, **which: Any) -> list[audit_service_pb2.AuditEntry]:
        return list((await self.page(**which)).entries)


@pytest.fixture
async def audited(manager: Manager) -> AsyncIterator[Audited]:
    async with open_channel(manager.config.internal.listen) as channel:
        yield Audited(channel)


async def test_allowed_and_denied_attempts_are_listed_newest_first(audited: Audited) -> None:
    request_id = await audited.create(DEV)
    with pytest.raises(grpc.aio.AioRpcError):
        await audited.create(STRANGER)

    async def both() -> bool:
        return len(await audited.listed()) == 2

    await until(both)
    denied, allowed = await audited.listed()

    assert (allowed.caller, list(allowed.roles), allowed.rule) == ("dana", ["dev"], "acl")
    assert (allowed.operation, allowed.request_type) == ("start", "deploy")
    assert (allowed.request_id, allowed.peer, allowed.allowed) == (request_id, "10.0.0.2:7", True)
    assert (denied.caller, list(denied.roles)) == ("eve", ["sales", "guests"])
    assert (denied.operation, denied.request_type, denied.allowed) == ("start", "deploy", False)
    assert (denied.rule, denied.authenticator) == ("no-role", "token-file")
    assert denied.reason.startswith('the caller "eve" may not start ')
    assert denied.call_id
    assert await audited.listed(denied_only=True) == [denied]
    assert allowed.occurred_at.ToDatetime() <= denied.occurred_at.ToDatetime()


async def test_pages_have_every_entry_once_also_of_the_same_moment(
    audited: Audited, connection: asyncpg.Connection
) -> None:
    await connection.execute(
        OLD + "SELECT '2026-01-01'::timestamptz + (i / 3) * interval '1 s', '', 'start', 'r' || i"
        " FROM generate_series(1, 10) AS i"
    )
    found, token = [], ""
    while True:
        page = await audited.page(size=3, token=token)
        found += [entry.request_id for entry in page.entries]
        token = page.next_page_token
        if not token:
            break

    assert found == [f"r{number}" for number in range(10, 0, -1)]
    first = await audited.page(size=3)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await audited.page(size=3, token=first.next_page_token, caller_name="other")
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_each_criterion_selects(audited: Audited, connection: asyncpg.Connection) -> None:
    await connection.execute(
        OLD + "VALUES ('2026-01-01', 'ann', 'start', 'r1'), ('2026-01-02', 'ann', 'stop', 'r1'),"
        " ('2026-01-03', 'bob', 'stop', 'r2'), ('2026-01-04', '', 'evict', '')"
    )
    noon = audit_service_pb2.AuditFilter()
    noon.since.FromJsonString("2026-01-02T00:00:00Z")
    noon.until.FromJsonString("2026-01-04T00:00:00Z")

    async def ids(**which: Any) -> list[int]:
        return [entry.id for entry in await audited.listed(**which)]

    assert await ids() == [4, 3, 2, 1]
    assert await ids(request_id="r1") == [2, 1]
    assert await ids(caller_name="ann") == [2, 1]
    assert await ids(operations=["stop", "evict"]) == [4, 3, 2]
    assert await ids(since=noon.since, until=noon.until) == [3, 2]
    assert await ids(request_id="r1", operations=["stop"]) == [2]
    assert await ids(denied_only=True) == []


async def test_callers_without_the_operation_admin_are_denied_and_that_is_audited(
    audited: Audited,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await audited.page(caller=DEV)

    assert failure.value.code() is grpc.StatusCode.PERMISSION_DENIED

    async def stored() -> bool:
        return len(await audited.listed(caller_name="dana", operations=["admin"])) == 1

    await until(stored)


async def test_a_reload_of_specs_is_audited(audited: Audited) -> None:
    await audited.specs.ReloadSpecs(
        spec_service_pb2.ReloadSpecsRequest(), metadata=assertion_of(ADMIN)
    )

    (entry,) = await audited.listed()
    assert (entry.caller, entry.operation, entry.reason) == ("root", "admin", "reload of specs")


async def test_bad_filters_are_errors(audited: Audited) -> None:
    many = audited.page(operations=[str(number) for number in range(101)])
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await many
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
