from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from tests.conformance import backends
from tests.conformance.backends import Backend

from spincycle.gateway.config import GatewayConfig
from spincycle.gateway.process import Gateway
from spincycle.gateway.service_clients import open_service_clients


@dataclass
class Stack:
    """A gateway on a real socket, and the services behind it."""

    manager: Backend
    log: Backend
    runner: Backend
    gateway: Gateway
    http: httpx.AsyncClient
    legacy_http: httpx.AsyncClient
    runner_http: httpx.AsyncClient

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.gateway.address.rpartition(":")
        return host, int(port)


@pytest.fixture
def config() -> GatewayConfig:
    return GatewayConfig(
        listen="127.0.0.1:0",
        legacy_runner_listen="127.0.0.1:0",
        job_runner_listen="127.0.0.1:0",
        backend_timeout=5,
        page_size=2,
        grace=1,
        keepalive=0.05,
        hosts=("x",),
    )


@pytest.fixture
async def stack(config: GatewayConfig) -> AsyncIterator[Stack]:
    manager, log = backends.request_manager(), backends.job_log()
    runner = backends.job_runner()
    services = (manager, log, runner)
    for service in services:
        await service.start()
    opened = open_service_clients(
        manager.address, log.address, runner.address, config.backend_timeout
    )
    gateway = Gateway(config, opened)
    serving = asyncio.create_task(gateway.serve())
    async with (
        httpx.AsyncClient(base_url=f"http://{gateway.address}") as http,
        httpx.AsyncClient(base_url=f"http://{gateway.legacy_runner_address}") as legacy_http,
        httpx.AsyncClient(base_url=f"http://{gateway.runner_address}") as runner_http,
    ):
        yield Stack(manager, log, runner, gateway, http, legacy_http, runner_http)
    gateway.end()
    await serving
    await opened.close()
    for service in services:
        await service.stop()
