from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from tests.conformance import backends, samples
from tests.conformance.samples import ID

from spincycle.v1 import request_manager_service_pb2 as rm

PROGRAM = (sys.executable, "-c", "from spincycle.gateway.process import main; main()")


@asynccontextmanager
async def process(**environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        *PROGRAM,
        env={
            **os.environ,
            "SPINCYCLE_GATEWAY_LISTEN": "127.0.0.1:0",
            "SPINCYCLE_GATEWAY_LOG__FORMAT": "json",
            **environment,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def next_line(running: asyncio.subprocess.Process) -> dict[str, object]:
    assert running.stderr
    line: dict[str, object] = json.loads(await running.stderr.readline())
    return line


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
