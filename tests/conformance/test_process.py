from __future__ import annotations

import asyncio
import signal

import httpx
from tests.conformance import backends, samples
from tests.conformance.gateway_process import next_line, process
from tests.conformance.samples import ID

from spincycle.v1 import request_manager_service_pb2 as rm


async def test_a_gateway_completes_calls_in_flight_before_it_ends() -> None:
    manager = backends.request_manager()
    await manager.start()
    received, released = asyncio.Event(), asyncio.Event()

    async def slow(_: object) -> rm.GetResponse:
        received.set()
        await released.wait()
        return rm.GetResponse(request=samples.a_request())

    manager.respond(Get=slow)
    async with process(SPINCYCLE_GATEWAY_REQUEST_MANAGER=manager.address) as running:
        address = (await next_line(running))["address"]
        async with httpx.AsyncClient(base_url=f"http://{address}") as http:
            call = asyncio.create_task(http.get(f"/api/v1/requests/{ID}"))
            await received.wait()
            running.send_signal(signal.SIGTERM)
            released.set()
            answer = await call
        assert await running.wait() == 0
    await manager.stop()

    assert answer.status_code == 200
    assert answer.json()["id"] == ID


async def test_each_call_has_one_line_in_the_log() -> None:
    async with process() as running:
        address = (await next_line(running))["address"]
        async with httpx.AsyncClient(base_url=f"http://{address}") as http:
            await http.get("/api/v1/nope", headers={"X-Request-Id": "call-1"})
        line = await next_line(running)

    assert {key: line[key] for key in ("event", "method", "path", "status", "call", "service")} == {
        "event": "call",
        "method": "GET",
        "path": "/api/v1/nope",
        "status": 404,
        "call": "call-1",
        "service": "gateway",
    }


async def test_an_invalid_address_is_a_configuration_error() -> None:
    async with process(SPINCYCLE_GATEWAY_LISTEN="nowhere") as running:
        line = await next_line(running)

        assert await running.wait() == 2
    assert line["problem"] == 'listen: "nowhere" must be host:port'


async def test_an_address_in_use_ends_the_process() -> None:
    async with process() as first:
        address = str((await next_line(first))["address"])
        async with process(SPINCYCLE_GATEWAY_LISTEN=address) as second:
            line = await next_line(second)

            assert await second.wait() == 2
    assert f"cannot listen on {address}" in str(line["problem"])
