"""Clients reconnect periodically without losing calls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.health_client import HealthClient
from tests.integration.rpc.conftest import SERVICE
from tests.stream_messages import read_message
from tests.waiting import until

from spincycle.rpc.channel import open_channel
from spincycle.rpc.limits import PUBLIC
from spincycle.rpc.server import RpcServer, RpcService


@pytest.fixture
async def server() -> AsyncIterator[tuple[RpcServer, str]]:
    """A server with a short connection age, and the peers of its calls."""
    server = RpcServer(connection_age=0.2)

    async def get_peer(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return context.peer().encode()

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(get_peer)
    handlers = (grpc.method_handlers_generic_handler("test.Peer", {"Get": handler}),)
    listener = server.listen(PUBLIC, "127.0.0.1:0").serve(
        RpcService(SERVICE, lambda each: each.add_generic_rpc_handlers(handlers))
    )
    await server.start()
    yield server, listener.address
    await server.stop(0)


async def test_a_client_reconnects_while_its_stream_continues(
    server: tuple[RpcServer, str],
) -> None:
    served, address = server
    async with open_channel(address) as channel:
        get_peer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/test.Peer/Get"
        )
        watching = HealthClient(channel).watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        assert (await read_message(watching)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        peers = {await get_peer(b"")}

        async def several() -> bool:
            peers.add(await get_peer(b""))
            return len(peers) >= 3

        await until(several)
        await served.health.report(ready=True)
        assert (await read_message(watching)).status == health_pb2.HealthCheckResponse.SERVING
        watching.cancel()
