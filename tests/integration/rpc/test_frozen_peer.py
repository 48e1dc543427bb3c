"""Both ends of a connection detect within their keepalive that the peer is frozen."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.health_client import HealthClient
from tests.integration.rpc.watched_service import watched
from tests.stream_messages import read_message

from spincycle import errors
from spincycle.gateway.service_clients import open_service_clients
from spincycle.rpc.channel import open_channel
from spincycle.rpc.limits import (
    CLIENT_KEEPALIVE,
    INTERNAL,
    PUBLIC,
    SERVER_KEEPALIVE,
    Audience,
    Keepalive,
)
from spincycle.v1 import job_log_service_pb2 as pb

NEVER = 40.0
"""Seconds after which the test fails. Without a ping timeout, detection takes 70 to 80."""

SHORT = Keepalive(interval=1.0, timeout=0.5)

PEER = "tests.integration.rpc.frozen_peer"


class Peer:
    """The process at the other end of a connection."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)


@asynccontextmanager
async def peer(*arguments: str) -> AsyncIterator[Peer]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", PEER, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Peer(process)
    finally:
        process.kill()
        await process.wait()


async def notices_a_frozen_client(audience: Audience, keepalive: Keepalive) -> None:
    async with AsyncExitStack() as stack:
        service, address = await stack.enter_async_context(watched(audience, keepalive))
        watcher = await stack.enter_async_context(peer("watch", address))
        assert await watcher.line() == "watching"
        watcher.freeze()

        async with asyncio.timeout(NEVER):
            await service.ended.wait()


async def fails_at_a_frozen_server(keepalive: Keepalive) -> None:
    async with peer("serve") as served:
        address = await served.line()
        async with open_channel(address, keepalive=keepalive) as channel:
            watching = HealthClient(channel).watch(health_pb2.HealthCheckRequest())
            assert (
                await read_message(watching)
            ).status == health_pb2.HealthCheckResponse.NOT_SERVING
            served.freeze()

            async with asyncio.timeout(NEVER):
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await watching.read()
            assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_detects_a_frozen_server_within_its_keepalive() -> None:
    await fails_at_a_frozen_server(SHORT)


@pytest.mark.parametrize("audience", [PUBLIC, INTERNAL], ids=lambda audience: audience.name)
async def test_a_server_ends_the_streams_of_a_frozen_watcher_within_its_keepalive(
    audience: Audience,
) -> None:
    await notices_a_frozen_client(audience, SHORT)


@pytest.mark.parametrize("keepalive", [CLIENT_KEEPALIVE, SERVER_KEEPALIVE])
def test_a_ping_times_out_with_the_keepalive(keepalive: Keepalive) -> None:
    options = dict(keepalive.options)

    assert options["grpc.http2.ping_timeout_ms"] == options["grpc.keepalive_timeout_ms"] == 5000


@pytest.mark.slow
async def test_a_watcher_detects_a_frozen_server_in_the_documented_time() -> None:
    await fails_at_a_frozen_server(CLIENT_KEEPALIVE)


@pytest.mark.slow
@pytest.mark.parametrize("audience", [PUBLIC, INTERNAL], ids=lambda audience: audience.name)
async def test_a_server_ends_the_streams_of_a_frozen_watcher_in_the_documented_time(
    audience: Audience,
) -> None:
    await notices_a_frozen_client(audience, SERVER_KEEPALIVE)


@pytest.mark.slow
async def test_the_gateway_reports_a_frozen_service_in_the_documented_time() -> None:
    async with peer("serve") as served:
        clients = open_service_clients("127.0.0.1:1", await served.line(), "127.0.0.1:1", 60.0)
        try:
            tail = clients.job_log.stub.Tail(pb.TailRequest())
            await tail.read()
            served.freeze()

            async with asyncio.timeout(NEVER):
                with pytest.raises(errors.ServiceUnavailable), clients.job_log.translate_errors():
                    await tail.read()
        finally:
            await clients.close()
