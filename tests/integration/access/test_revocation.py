"""A token that is removed from the file is refused by a running gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.conformance import backends, samples
from tests.conformance.backends import Backend
from tests.conformance.gateway_process import next_line, process
from tests.waiting import until

from spincycle.access.token_file import add_token
from spincycle.v1 import request_manager_service_pb2 as rm


@pytest.fixture
async def manager() -> AsyncIterator[Backend]:
    backend = backends.request_manager()
    backend.respond(Get=rm.GetResponse(request=samples.a_request()))
    await backend.start()
    yield backend
    await backend.stop()


async def test_a_gateway_refuses_a_token_that_is_removed_from_the_file(
    tmp_path: Path, manager: Backend
) -> None:
    tokens = tmp_path / "tokens"
    add_token(tokens, "alice", ["ops"], "alice's token")
    async with (
        process(
            SPINCYCLE_GATEWAY_AUTH__TOKEN_FILE=str(tokens),
            SPINCYCLE_GATEWAY_REQUEST_MANAGER=manager.address,
        ) as running,
        httpx.AsyncClient(base_url=f"http://{(await next_line(running))['address']}") as http,
    ):

        async def status() -> int:
            headers = {"Authorization": "Bearer alice's token"}
            path = f"/api/v1/requests/{samples.ID}"
            return (await http.get(path, headers=headers, timeout=20)).status_code

        async def is_refused() -> bool:
            return await status() == 401

        assert running.stderr
        # A process whose log nobody reads stops.
        reading = asyncio.create_task(running.stderr.read())
        assert await status() == 200
        await asyncio.to_thread(tokens.write_text, "")
        await until(is_refused)
        running.kill()
        await reading
