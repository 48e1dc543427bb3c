"""Addresses of runners."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    Coordination,
    Manager,
    ShelvedJobLog,
    running_manager,
)

from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.rpc.channel import open_channel
from spincycle.rpc.status import from_rpc_error
from spincycle.runtime.config import InternalConfig


@pytest.fixture
def socket() -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield f"unix:{directory}/internal"


@pytest.fixture
async def on_socket(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str], socket: str
) -> AsyncIterator[Manager]:
    config = replace(config, internal=InternalConfig(listen=socket, allow_unidentified=True))
    async with running_manager(config, job_log[0]) as manager:
        yield manager


def registration(address: str) -> coordination_pb2.RegisterRequest:
    return coordination_pb2.RegisterRequest(runner_id="runner", address=address)


@pytest.mark.parametrize("address", ["unix:/tmp/runner", "unix:///tmp/r"])
async def test_a_unix_socket_of_a_runner_that_calls_over_tcp_is_refused(
    manager: Manager, address: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await manager.coordination.Register(registration(address))

    refused = from_rpc_error(failure.value, "request manager", "")
    assert refused.reason == "INVALID_INPUT"
    assert "set advertise to host:port" in refused.message


@pytest.mark.parametrize(
    "address",
    [
        "UNIX:/tmp/runner",
        "unix:relative",
        "vsock:2:1234",
        "dns:///evil:1",
        "http://evil:1",
        "ipv4:127.0.0.1:1,127.0.0.2:1",
        "127.0.0.1",
        "127.0.0.1:99999",
        ":1",
        "x" * 300 + ":1",
        "unix-abstract:runner",
        "two words:1",
    ],
)
async def test_an_address_that_is_neither_host_and_port_nor_a_path_is_refused(
    on_socket: Manager, address: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await on_socket.coordination.Register(registration(address))

    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("address", ["unix:/tmp/runner", "127.0.0.1:1", "[::1]:1", "localhost:1"])
async def test_a_runner_that_calls_over_a_unix_socket_may_be_reached_either_way(
    on_socket: Manager, socket: str, address: str
) -> None:
    async with open_channel(socket) as channel:
        await Coordination(channel).Register(registration(address))


async def test_impossibly_large_numbers_of_a_runner_are_clamped(
    manager: Manager,
) -> None:
    huge = coordination_pb2.RegisterRequest(
        runner_id="huge", address="127.0.0.1:1", max_chains=2**32 - 1, max_jobs=2**32 - 1
    )
    heartbeat = coordination_pb2.HeartbeatRequest(
        runner_id="huge", chains=2**32 - 1, jobs=2**32 - 1
    )
    heartbeat.oldest_unacknowledged.seconds = 10**15

    await manager.coordination.Register(huge)
    await manager.coordination.Heartbeat(heartbeat)
