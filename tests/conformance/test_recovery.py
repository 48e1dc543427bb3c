from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from tests.conformance import backends, samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID

from spincycle.gateway.config import GatewayConfig
from spincycle.gateway.service_clients import open_service_clients
from spincycle.v1 import request_manager_service_pb2 as rm

ONE = f"/api/v1/requests/{ID}"


@pytest.fixture
def config(config: GatewayConfig) -> GatewayConfig:
    return replace(config, backend_timeout=2)


async def test_a_restarted_service_is_used(stack: Stack) -> None:
    stack.manager.respond(Get=rm.GetResponse(request=samples.a_request()))
    assert (await stack.http.get(ONE)).status_code == 200

    await stack.manager.stop()
    assert (await stack.http.get(ONE)).status_code == 503
    again = backends.request_manager()
    again.respond(Get=rm.GetResponse(request=samples.a_request()))
    await again.start(stack.manager.address)
    try:
        answer = await stack.http.get(ONE)
        while answer.status_code == 503:
            answer = await stack.http.get(ONE)
    finally:
        await again.stop()

    assert answer.status_code == 200


async def test_hanging_calls_do_not_affect_others(stack: Stack) -> None:
    async def never(_: object) -> object:
        return await asyncio.Event().wait()

    stack.manager.respond(Get=never, List=rm.ListResponse())

    hanging = [asyncio.create_task(stack.http.get(ONE)) for _ in range(50)]
    others = [await stack.http.get("/api/v1/requests") for _ in range(5)]

    assert {answer.status_code for answer in others} == {200}
    assert {(await call).status_code for call in hanging} == {504}


async def test_clients_can_be_opened_before_the_services_start() -> None:
    opened = open_service_clients("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", 1)

    assert not await opened.request_manager.is_serving()

    await opened.close()
