"""Clients reconnect periodically without losing calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.health_client import HealthClient
from tests.identities import UNIDENTIFIED
from tests.integration.rpc.conftest import SERVICE
from tests.stream_messages import read_message
from tests.waiting import until

from spincycle.rpc.channel import open_channel
from spincycle.rpc.limits import PUBLIC
from spincycle.rpc.server import RpcServer, RpcService


@pytest.fixture
async def server() -> AsyncIterator[tuple[RpcServer, str]]:
    """A server with a short connection age, and the peers of its calls."""
    server = RpcServer(connection_age=0.2, internal=UNIDENTIFIED)

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


async def test_a_new_channel_does_not_wait_for_the_backoff_of_another_one_to_the_address() -> None:
    attempts: list[asyncio.StreamWriter] = []

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(writer)
        writer.close()

    dead = await asyncio.start_server(refuse, "127.0.0.1", 0)
    address = "{}:{}".format(*dead.sockets[0].getsockname())
    async with open_channel(address) as waiting:
        waiting.get_state(try_to_connect=True)
        await until(lambda: len(attempts) >= 5)
        dead.close()
        await dead.wait_closed()
        started = RpcServer(internal=UNIDENTIFIED)
        started.listen(PUBLIC, address)
        await started.start()

        try:
            async with open_channel(address) as channel:
                states = [channel.get_state(try_to_connect=True)]
                while states[-1] is not grpc.ChannelConnectivity.READY:
                    await channel.wait_for_state_change(states[-1])
                    states.append(channel.get_state(try_to_connect=True))
        finally:
            await started.stop(0)

    assert grpc.ChannelConnectivity.TRANSIENT_FAILURE not in states
