"""Each listener has the limits and the services of its audience."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from tests.identities import UNIDENTIFIED
from tests.integration.rpc.counting_job_log import METHOD, SERVICE, CountingJobLog, request_of
from tests.integration.rpc.peak_memory import peak_megabytes
from tests.waiting import until

from spincycle import errors
from spincycle.dev.ports import free_port
from spincycle.rpc.channel import open_channel
from spincycle.rpc.limits import HEALTH, INTERNAL, PUBLIC, Audience
from spincycle.rpc.peer import Peer
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.rpc.status import from_rpc_error
from spincycle.runtime.config import ConfigError, TlsConfig
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1 import job_log_service_pb2_grpc

Call = grpc.aio.UnaryUnaryMultiCallable[Any, Any]

MEGABYTE = 1024 * 1024
JOB_LOG = [sys.executable, "-c", "from spincycle.job_log.process import main; main()"]


@dataclass
class Serving:
    job_log: CountingJobLog
    address: str


@asynccontextmanager
async def serving(audience: Audience, address: str = "127.0.0.1:0") -> AsyncIterator[Serving]:
    job_log = CountingJobLog()
    server = RpcServer(check=lambda _, __: None, internal=UNIDENTIFIED)
    register = job_log_service_pb2_grpc.add_JobLogServiceServicer_to_server
    listener = server.listen(audience, address).serve(
        RpcService(SERVICE, lambda each: register(job_log, each))
    )
    await server.start()
    yield Serving(job_log, listener.address)
    await server.stop(0)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
@pytest.mark.parametrize("audience", [PUBLIC, INTERNAL], ids=lambda audience: audience.name)
async def test_a_message_up_to_the_limit_is_accepted_and_a_larger_one_rejected(
    audience: Audience, compression: grpc.Compression
) -> None:
    async with serving(audience) as served, open_channel(served.address) as channel:
        served.job_log.release.set()
        # Without a limit of the client, so that the server's limit applies.
        async with grpc.aio.insecure_channel(
            served.address, [("grpc.max_send_message_length", -1)]
        ) as unlimited:
            call: Call = unlimited.unary_unary(METHOD, pb.GetEntryRequest.SerializeToString)
            await call(request_of(audience.request_bytes), compression=compression)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(request_of(audience.request_bytes + 1), compression=compression)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        named = from_rpc_error(refused.value, "job log", served.address)
        assert named.reason == errors.MessageTooLarge.reason
        assert channel is not None


@pytest.mark.parametrize(
    ("audience", "bomb", "allowed"), [(PUBLIC, 64, 24), (INTERNAL, 160, 3 * 64 + 24)]
)
async def test_a_compression_bomb_is_rejected_before_it_costs_memory(
    audience: Audience, bomb: int, allowed: int
) -> None:
    """`bomb` is the inflated size of each of three messages, `allowed` the growth, in MB."""
    addresses = {"public": f"127.0.0.1:{free_port()}", "internal": f"127.0.0.1:{free_port()}"}
    process = await asyncio.create_subprocess_exec(
        *JOB_LOG,
        env=os.environ
        | {
            "SPINCYCLE_JL_LISTEN": addresses["public"],
            "SPINCYCLE_JL_INTERNAL__LISTEN": addresses["internal"],
            "SPINCYCLE_JL_INTERNAL__ALLOW_UNIDENTIFIED": "true",
            "SPINCYCLE_JL_DATABASE__DSN": f"postgresql://127.0.0.1:{free_port()}/nowhere",
        },
        stderr=asyncio.subprocess.DEVNULL,
    )
    request = pb.GetEntryRequest(request_id="r" * (bomb * MEGABYTE)).SerializeToString()
    try:
        async with grpc.aio.insecure_channel(
            addresses[audience.name], [("grpc.max_send_message_length", -1)]
        ) as channel:
            call: Call = channel.unary_unary(METHOD)
            with pytest.raises(grpc.aio.AioRpcError) as before:
                await call(b"", wait_for_ready=True)
            assert before.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            held = peak_megabytes(process.pid)
            calls = [
                asyncio.ensure_future(call(request, compression=grpc.Compression.Gzip))
                for _ in range(3)
            ]
            ended = await asyncio.gather(*calls, return_exceptions=True)
        grown = peak_megabytes(process.pid) - held
    finally:
        process.terminate()
        await process.wait()

    codes = {failure.code() for failure in ended if isinstance(failure, grpc.aio.AioRpcError)}
    assert len(ended) == 3
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert grown < allowed


async def test_a_public_connection_has_a_bounded_number_of_calls_and_the_others_wait() -> None:
    async with serving(PUBLIC) as served, open_channel(served.address) as channel:
        stub = job_log_service_pb2_grpc.JobLogServiceStub(channel)
        calls = [stub.GetEntry(pb.GetEntryRequest(), timeout=60) for _ in range(260)]
        await until(lambda: served.job_log.running == PUBLIC.streams)
        # After a round trip on another connection, everything sent before has arrived.
        async with grpc.aio.insecure_channel(
            served.address, [("grpc.use_local_subchannel_pool", 1)]
        ) as other:
            nothing: Call = other.unary_unary(f"/{SERVICE}/Nothing")
            with pytest.raises(grpc.aio.AioRpcError):
                await nothing(b"")
        served.job_log.release.set()
        await asyncio.gather(*calls)

    assert served.job_log.peak == PUBLIC.streams


async def test_a_health_listener_rejects_large_messages() -> None:
    async with serving(HEALTH) as served:
        served.job_log.release.set()
        async with grpc.aio.insecure_channel(served.address) as channel:
            call: Call = channel.unary_unary(METHOD, pb.GetEntryRequest.SerializeToString)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(request_of(HEALTH.request_bytes + 1))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
def address() -> Iterator[str]:
    """The socket of a process that was killed."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/socket"
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(path)
        yield f"unix:{path}"


async def test_a_unix_socket_is_taken_over_from_a_killed_process(address: str) -> None:
    async with serving(INTERNAL, address) as served, open_channel(address) as channel:
        assert served.address == address
        served.job_log.release.set()
        await job_log_service_pb2_grpc.JobLogServiceStub(channel).GetEntry(pb.GetEntryRequest())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (lambda: f"unix:/tmp/{'x' * 110}", "107 bytes"),
        (lambda: "unix:/proc/version/socket", "is not a directory; create it first"),
        (lambda: "unix:/proc/version", "exists and is not a socket"),
        (lambda: "unix:relative/socket", "must be host:port or unix:/path"),
        (lambda: "unix-abstract:socket", "must be host:port or unix:/path"),
        (lambda: "UNIX:/tmp/socket", "must be host:port or unix:/path"),
        (lambda: "127.0.0.1:65536", "must be host:port or unix:/path"),
        (lambda: "", 'internal.listen: "" must be host:port or unix:/path'),
        (lambda: "127.0.0.1", "must be host:port"),
        (lambda: ":32321", "must be host:port"),
        (lambda: "unix:", "must be host:port or unix:/path"),
    ],
    ids=[
        "too-long",
        "no-directory",
        "no-socket",
        "relative",
        "abstract",
        "upper-case",
        "high-port",
        "empty",
        "no-port",
        "no-host",
        "no-path",
    ],
)
async def test_an_address_that_cannot_be_bound_is_reported_with_a_remedy(
    address: Callable[[], str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        RpcServer(internal=UNIDENTIFIED).listen(INTERNAL, address())


async def test_a_unix_socket_is_not_taken_from_a_running_process(address: str) -> None:
    async with serving(INTERNAL, address) as served:
        with pytest.raises(ConfigError, match="another process listens on"):
            RpcServer(internal=UNIDENTIFIED).listen(INTERNAL, address)
        served.job_log.release.set()
        async with open_channel(address) as channel:
            await job_log_service_pb2_grpc.JobLogServiceStub(channel).GetEntry(pb.GetEntryRequest())


async def test_a_unix_socket_is_closed_to_other_accounts_whatever_the_umask(address: str) -> None:
    before = os.umask(0)
    try:
        async with serving(INTERNAL, address):
            mode = stat.S_IMODE(os.stat(address.removeprefix("unix:")).st_mode)  # noqa: PTH116
    finally:
        os.umask(before)

    assert mode == 0o660


@pytest.mark.parametrize("audience", [PUBLIC, INTERNAL], ids=lambda audience: audience.name)
async def test_a_public_listener_is_distinguished_from_an_internal_one(
    audience: Audience, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(audience) as served:
        service = SERVICE if audience is INTERNAL else "spincycle.internal.v1.JournalService"
        peer = Peer("job_log", served.address, service)
        checking = asyncio.create_task(peer.check())
        if audience is INTERNAL:
            await checking
        else:
            await until(lambda: peer.is_wrong)
            checking.cancel()

    assert peer.is_right() is (audience is INTERNAL)
    output = capsys.readouterr()
    assert ("set job_log to the internal listener" in output.out + output.err) is peer.is_wrong


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "gateway.example.com:0"])
async def test_a_public_listener_beyond_loopback_without_tls_does_not_start(address: str) -> None:
    with pytest.raises(ConfigError) as refused:
        RpcServer().listen(PUBLIC, address)

    assert str(refused.value).startswith(f"listen: {address} is not a loopback address")
    assert "set tls.certificate and tls.key, or set tls.allow_plaintext: true" in str(refused.value)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::1]:0", "127.8.9.10:0", "localhost:0"])
async def test_a_listener_that_may_be_plain_text_starts(address: str) -> None:
    tls = TlsConfig(allow_plaintext=address == "0.0.0.0:0")

    assert RpcServer(tls=tls).listen(PUBLIC, address).address.startswith(address[:-1])


async def test_a_health_listener_may_be_plain_text_anywhere() -> None:
    server = RpcServer(internal=UNIDENTIFIED)

    server.listen_for_probes("0.0.0.0:0")
    assert server.addresses["health"].startswith("0.0.0.0:")
