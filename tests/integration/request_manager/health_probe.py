"""A client of the health service of a request manager."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grpc_health.v1 import health_pb2
from tests.health_client import HealthClient
from tests.integration.request_manager.conftest import Manager, until

from spincycle.rpc.channel import open_channel

SERVICE = "spincycle.v1.RequestManagerService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class HealthProbe:
    def __init__(self, client: HealthClient) -> None:
        self._client = client

    async def check(self, name: str) -> int:
        request = health_pb2.HealthCheckRequest(service=name)
        return (await self._client.check(request)).status

    async def until(self, status: int) -> None:
        async def matches() -> bool:
            return await self.check(SERVICE) == status

        await until(matches)

    def watch(self) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        return aiter(self._client.watch(health_pb2.HealthCheckRequest(service=SERVICE)))


@asynccontextmanager
async def probe_of(manager: Manager) -> AsyncIterator[HealthProbe]:
    async with open_channel(manager.config.listen) as channel:
        yield HealthProbe(HealthClient(channel))
