"""The bytes of concurrent calls are limited; rejected calls get a retryable error."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from tests.health_client import HealthClient
from tests.identities import UNIDENTIFIED
from tests.integration.rpc.counting_job_log import (
    METHOD,
    SERVICE,
    CountingJobLog,
    request_of,
    serving,
)
from tests.integration.rpc.failure import details, failure
from tests.integration.rpc.peak_memory import peak_megabytes
from tests.waiting import until

from spincycle.errors import Overloaded
from spincycle.rpc.channel import open_channel
from spincycle.rpc.in_flight import BytesInFlight, ReadSlots
from spincycle.rpc.limits import PUBLIC, PUBLIC_REQUEST_BYTES
from spincycle.rpc.server import RpcServer
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1 import job_log_service_pb2_grpc

LARGEST = request_of(PUBLIC_REQUEST_BYTES)
FIT = PUBLIC.bytes_in_flight // PUBLIC_REQUEST_BYTES
CALLS = 150

SENDING = 2.0
"""Seconds within which the kernel has buffered what clients send to the stopped server."""

SERVER = """
import asyncio, sys
from tests.integration.rpc.counting_job_log import serving

async def main():
    async with serving() as (job_log, public, internal):
        print(public, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


async def test_calls_beyond_the_bytes_in_flight_are_rejected_until_others_end() -> None:
    server = RpcServer(check=lambda _, __: None, internal=UNIDENTIFIED)
    async with (
        serving(server) as (job_log, public, internal),
        open_channel(public) as channel,
        open_channel(internal) as inside,
    ):
        stub = job_log_service_pb2_grpc.JobLogServiceStub(channel)
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        raw = LARGEST.SerializeToString()
        held = [asyncio.ensure_future(call(raw)) for _ in range(FIT)]
        await until(lambda: job_log.running == FIT)

        refused = await failure(stub.GetEntry(request_of(1_000_000), timeout=10))
        others = job_log_service_pb2_grpc.JobLogServiceStub(inside).GetEntry(LARGEST)
        await until(lambda: job_log.running == FIT + 1)
        assert server.bytes_in_flight() == {
            "public": PUBLIC.bytes_in_flight,
            "internal": PUBLIC_REQUEST_BYTES,
        }
        job_log.release.set()
        await asyncio.gather(others, *held)
        assert set(server.bytes_in_flight().values()) == {0}
        await stub.GetEntry(LARGEST)

    assert refused.code() is grpc.StatusCode.UNAVAILABLE
    found = details(refused)
    assert found["ErrorInfo"].reason == "OVERLOADED"
    assert isinstance(found["RetryInfo"], error_details_pb2.RetryInfo)


@pytest.mark.parametrize(
    "method_name",
    [
        METHOD,
        f"/{SERVICE}/Tail",
        f"/{SERVICE}/Nothing",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/nobody.Serves/This",
    ],
)
async def test_many_compressed_messages_at_once_take_bounded_memory(method_name: str) -> None:
    """150 messages of 4 MiB, compressed to 4 kB each: 600 MiB if all were decompressed at once.

    The server is stopped while the messages are sent, so that all are there when it goes on.
    """
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    assert server.stdout is not None
    address = (await server.stdout.readline()).decode().strip()
    raw = LARGEST.SerializeToString()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            await HealthClient(channel).check(health_pb2.HealthCheckRequest())
            before = peak_megabytes(server.pid)
            server.send_signal(signal.SIGSTOP)
            # Identical on the wire to every kind of call.
            method: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(
                method_name
            )
            calls = [method(compression=grpc.Compression.Gzip, timeout=60) for _ in range(CALLS)]
            sending = [asyncio.ensure_future(send(call, raw)) for call in calls]
            await asyncio.wait(sending, timeout=SENDING)
            server.send_signal(signal.SIGCONT)
            left = {asyncio.ensure_future(code(call)) for call in calls}
            codes: list[grpc.StatusCode] = []
            held = FIT if method_name == METHOD else 0
            while len(left) > held:
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                codes += [one.result() for one in done]
            grown = peak_megabytes(server.pid) - before
            for one in (*sending, *left):
                one.cancel()
            await asyncio.gather(*sending, *left, return_exceptions=True)
    finally:
        server.kill()
        await server.wait()

    assert grpc.StatusCode.OK not in codes
    if method_name == METHOD:
        assert set(codes) == {grpc.StatusCode.UNAVAILABLE}
    # All at once would need 1.2 to 1.8 GB, with the copies of gRPC and the parsers. On a busy
    # machine some calls end late, and hold their memory until then.
    assert grown < 900


async def send(call: grpc.aio.StreamUnaryCall[bytes, bytes], raw: bytes) -> None:
    await call.write(raw)
    await call.done_writing()


async def code(call: grpc.aio.StreamUnaryCall[bytes, bytes]) -> grpc.StatusCode:
    return await call.code()


class Following(CountingJobLog):
    """Sends one response to Tail, and then blocks until released."""

    async def Tail(
        self, request: pb.TailRequest, context: object
    ) -> AsyncIterator[pb.TailResponse]:
        yield pb.TailResponse()
        await self.release.wait()


async def test_streams_do_not_hold_their_requests_after_the_first_response() -> None:
    server = RpcServer(check=lambda _, __: None, internal=UNIDENTIFIED)
    request = pb.TailRequest(request_id="r" * (PUBLIC_REQUEST_BYTES - 100))
    async with (
        serving(server, Following()) as (_, public, _),
        open_channel(public) as channel,
    ):
        stub = job_log_service_pb2_grpc.JobLogServiceStub(channel)
        streams = [stub.Tail(request) for _ in range(2 * FIT)]
        for stream in streams:
            assert await stream.read() == pb.TailResponse()

        assert server.bytes_in_flight()["public"] == 0


def test_a_stream_counts_the_bytes_it_has_sent() -> None:
    in_flight = BytesInFlight(100)
    in_flight.hold(60)
    in_flight.hold(30, own=60)
    in_flight.hold(50, own=90)  # The only call in flight is always accepted.
    with pytest.raises(Overloaded):
        in_flight.hold(1)
    in_flight.release(140)
    in_flight.hold(500)


async def test_a_silent_caller_does_not_block_others() -> None:
    slots = ReadSlots(1, timeout=0.05)

    async def stalled() -> None:
        await slots.acquire()
        await asyncio.Event().wait()

    first = asyncio.create_task(stalled())
    await asyncio.sleep(0)

    await slots.acquire()

    assert first.cancelled()


async def test_many_silent_callers_delay_others_only_briefly() -> None:
    """With the full timeout, each pair would take 6 s, a minute in total."""
    slots = ReadSlots(2, timeout=6.0, min_timeout=0.01)

    async def stalled() -> None:
        await slots.acquire()
        await asyncio.Event().wait()

    crowd = [asyncio.create_task(stalled()) for _ in range(20)]
    await asyncio.sleep(0)

    await asyncio.wait_for(slots.acquire(), 30)

    assert all(one.cancelled() for one in crowd)


async def test_a_slot_is_passed_on_when_its_call_ends_or_a_waiter_is_cancelled() -> None:
    slots = ReadSlots(1, timeout=60)
    await slots.acquire()
    waiting = [asyncio.create_task(slots.acquire()) for _ in range(3)]
    await asyncio.sleep(0)

    waiting[0].cancel()
    slots.release()
    await asyncio.wait(waiting[1:])

    assert [one.cancelled() for one in waiting] == [True, False, False]
