"""Connections that cost their caller nothing, and that do not hold up others."""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest
from tests.not_run import not_run
from tests.security.installation import LISTENING, Installation
from tests.security.memory import measured
from tests.waiting import until

from spincycle.identity.service_identity import GATEWAY, JOB_LOG, REQUEST_MANAGER

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
"""Begin of an HTTP/2 connection: the preface and empty SETTINGS."""

DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
"""Types of HTTP/2 frames."""

END_HEADERS, END_STREAM = 4, 1
"""Flags of HTTP/2 frames."""

CANCEL = (8).to_bytes(4, "big")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


def header_block(method: str) -> bytes:
    """Headers of a gRPC call, each as a literal without an index."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/{method}",
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


LIST = header_block("spincycle.v1.RequestManagerService/List")

HALF_MESSAGE = (
    PREFACE
    + frame(HEADERS, END_HEADERS, 1, LIST)
    + frame(DATA, 0, 1, b"\0" + (100).to_bytes(4, "big") + bytes(50))
)

HALF_HEADERS = b"GET /api/v1/requests HTTP/1.1\r\nHost: localhost\r\nX-Half"


def half_hello() -> bytes:
    """The first half of a TLS ClientHello."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    hello = outgoing.read()
    return hello[: len(hello) // 2]


async def acknowledge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Acknowledge settings and pings; a server closes a connection that does not."""
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags = head[3], head[4]
            if kind in (SETTINGS, PING) and flags == 0:
                writer.write(frame(kind, 1, 0, payload if kind == PING else b""))


@asynccontextmanager
async def connections(
    address: str, number: int, sent: bytes, *, is_http2: bool = False
) -> AsyncIterator[None]:
    """Open connections that send some bytes and then nothing more but acknowledgements."""
    acknowledging: list[asyncio.Task[None]] = []
    host, _, port = address.partition(":")
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        writers.append(writer)
        if is_http2:
            acknowledging.append(asyncio.create_task(acknowledge(reader, writer)))
        writer.write(sent)
        await writer.drain()

    try:
        for first in range(0, number, 100):
            await asyncio.gather(*(connect() for _ in range(min(100, number - first))))
        yield
    finally:
        for task in acknowledging:
            task.cancel()
        await asyncio.gather(*acknowledging, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        # Their transports close in the next turn of the loop.
        await asyncio.sleep(0)


async def until_open(installation: Installation, service: str, number: int) -> None:
    """Wait until a process has that many open files, most of them connections."""
    files = Path(f"/proc/{installation.members[service].pid}/fd")
    await until(lambda: sum(1 for _ in files.iterdir()) >= number)


async def serve_an_honest_caller(installation: Installation) -> None:
    """Run and stop a request, for which all services must serve each other."""
    await installation.stop_request(await installation.run_request())


async def gateway_answers(installation: Installation) -> bool:
    host, _, port = installation.public[GATEWAY].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /version HTTP/1.0\r\nHost: localhost\r\n\r\n")
    status = await reader.readline()
    writer.close()
    return b" 200 " in status


async def test_half_a_handshake_and_half_a_message_do_not_hold_up_others(
    installation: Installation,
) -> None:
    hello = half_hello()
    async with AsyncExitStack() as slow:
        for service in LISTENING:
            await slow.enter_async_context(connections(installation.internal[service], 200, hello))
        for service in (REQUEST_MANAGER, JOB_LOG):
            await slow.enter_async_context(
                connections(installation.public[service], 200, HALF_MESSAGE, is_http2=True)
            )
        await slow.enter_async_context(connections(installation.public[GATEWAY], 200, HALF_HEADERS))
        for service, number in ((REQUEST_MANAGER, 400), (JOB_LOG, 400), (GATEWAY, 200)):
            await until_open(installation, service, number)

        await serve_an_honest_caller(installation)
        assert await gateway_answers(installation)

    await serve_an_honest_caller(installation)


async def reset_streams(address: str, streams: int) -> int:
    """Begin and reset streams, on as many connections as it takes; return how many there were."""
    host, _, port = address.partition(":")
    begun = opened = 0
    while begun < streams:
        reader, writer = await asyncio.open_connection(host, int(port))
        opened += 1
        writer.write(PREFACE)
        with suppress(OSError):
            for stream in range(1, 2 * (streams - begun), 2):
                writer.write(
                    frame(HEADERS, END_HEADERS | END_STREAM, stream, LIST)
                    + frame(RST_STREAM, 0, stream, CANCEL)
                )
                begun += 1
                if begun % 100 == 0:
                    await writer.drain()
                    if reader.at_eof() or writer.is_closing():
                        break
        writer.transport.abort()
        await asyncio.sleep(0)
    return opened


@pytest.mark.slow
async def test_streams_that_are_reset_in_a_loop_do_not_hold_up_others(
    installation: Installation,
) -> None:
    with measured(installation.members[REQUEST_MANAGER].pid) as growth:
        async with asyncio.TaskGroup() as attack:
            for _ in range(4):
                attack.create_task(
                    reset_streams(installation.public[REQUEST_MANAGER], streams=10_000)
                )
            await serve_an_honest_caller(installation)
        await serve_an_honest_caller(installation)

    print(f"memory grew by {growth.megabytes:.0f} MB at most")
    assert growth.megabytes < 256


def allow_open_files(pids: Sequence[int], number: int) -> None:
    """Let processes, and this one, have many connections."""
    for pid in (0, *pids):
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < number:
            not_run("RLIMIT_NOFILE", f"{number} open files are needed, and {hard} are allowed")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, hard))


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_ten_thousand_idle_connections_do_not_hold_up_others(
    installation: Installation,
) -> None:
    manager = installation.members[REQUEST_MANAGER].pid
    allow_open_files([manager], 12_000)
    with measured(manager) as growth:
        async with connections(installation.public[REQUEST_MANAGER], 10_000, PREFACE):
            await until_open(installation, REQUEST_MANAGER, 10_000)
            await serve_an_honest_caller(installation)
        await serve_an_honest_caller(installation)

    print(f"memory grew by {growth.megabytes:.0f} MB at most")
    assert growth.megabytes < 1024


async def test_a_stream_that_sends_nothing_to_a_job_log_does_not_hold_up_others(
    installation: Installation,
) -> None:
    """200 Append streams of a certified runner, each without a batch."""
    async with installation.channel(JOB_LOG, installation.identity("job-runner")) as channel:
        append: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/spincycle.internal.v1.JournalService/Append"
        )
        silent = [append() for _ in range(200)]
        await serve_an_honest_caller(installation)
        for call in silent:
            call.cancel()
