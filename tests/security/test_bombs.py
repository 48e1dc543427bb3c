"""Messages that are too large, or that need far more memory than they have bytes."""

from __future__ import annotations

import asyncio

import grpc
import httpx
import pytest
from tests.security.attempt import reason_of
from tests.security.installation import LISTENING, Installation
from tests.security.memory import measured

from spincycle.identity.service_identity import GATEWAY, JOB_LOG, JOB_RUNNER, REQUEST_MANAGER

MEGABYTE = 1024 * 1024

INTERNAL = {
    REQUEST_MANAGER: ("spincycle.internal.v1.RunnerCoordinationService/Report", JOB_RUNNER),
    JOB_LOG: ("spincycle.internal.v1.JournalService/Append", JOB_RUNNER),
    JOB_RUNNER: ("spincycle.internal.v1.JobRunnerService/RunChains", REQUEST_MANAGER),
}
"""A method of each internal listener, and a service that may call it."""

PUBLIC = {
    REQUEST_MANAGER: "spincycle.v1.RequestManagerService/Get",
    JOB_LOG: "spincycle.v1.JobLogService/GetEntry",
}

TIMEOUT = 100.0


def field(number: int, content: bytes) -> bytes:
    """A field of a message that holds bytes, a text or a message."""
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    key = number << 3 | 2
    keys = bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])
    return keys + length + bytes([size]) + content


async def call(
    channel: grpc.aio.Channel,
    method: str,
    message: bytes,
    compression: grpc.Compression = grpc.Compression.NoCompression,
) -> str:
    made: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(f"/{method}")
    return await reason_of(made(iter([message]), timeout=TIMEOUT, compression=compression))


async def call_internal(
    installation: Installation,
    service: str,
    message: bytes,
    compression: grpc.Compression = grpc.Compression.NoCompression,
) -> str:
    method, caller = INTERNAL[service]
    async with installation.channel(service, installation.identity(caller)) as channel:
        return await call(channel, method, message, compression)


@pytest.mark.parametrize("service", LISTENING)
async def test_a_message_above_the_limit_is_refused(
    installation: Installation, service: str
) -> None:
    with measured(installation.members[service].pid) as growth:
        refused = await call_internal(installation, service, field(1, bytes(65 * MEGABYTE)))
        if service in PUBLIC:
            async with installation.public_channel(service) as channel:
                message = field(1, b"x" * 5 * MEGABYTE)
                assert await call(channel, PUBLIC[service], message) == "MESSAGE_TOO_LARGE"

    assert refused == "MESSAGE_TOO_LARGE"
    assert growth.megabytes < 64


async def test_a_body_above_the_limit_is_refused(installation: Installation) -> None:
    host, _, port = installation.public[GATEWAY].partition(":")
    with measured(installation.members[GATEWAY].pid) as growth:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /api/v1/requests HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 5242880\r\n\r\n"
        )
        status = await reader.readline()
        writer.close()

    assert b" 413 " in status
    assert growth.megabytes < 32


STOPPED = ("MESSAGE_TOO_LARGE", "RESOURCE_EXHAUSTED")
"""gRPC has no size to name when it stops inflating a message."""


@pytest.mark.slow
@pytest.mark.parametrize("service", LISTENING)
async def test_a_compression_bomb_costs_no_memory(installation: Installation, service: str) -> None:
    """What inflates to more than the limit is inflated up to the limit only."""
    with measured(installation.members[service].pid) as growth:
        bomb = field(1, bytes(300 * MEGABYTE))
        refused = await call_internal(installation, service, bomb, grpc.Compression.Gzip)

    assert refused in STOPPED
    assert growth.megabytes < 3 * 64
    if service in PUBLIC:
        with measured(installation.members[service].pid) as growth:
            async with installation.public_channel(service) as channel:
                refused = await call(channel, PUBLIC[service], bomb, grpc.Compression.Gzip)

        assert refused in STOPPED
        assert growth.megabytes < 32


DEPTH = 10_000

VALUE_LIST, STRUCT_FIELDS = 6, 1
"""Numbers of Value.list_value and Struct.fields; the values of a list have number 1."""


def nested() -> bytes:
    """A google.protobuf.Value: a list in a list, 10,000 levels deep."""
    value = b""
    for _ in range(DEPTH):
        value = field(VALUE_LIST, field(1, value))
    return value


async def test_deeply_nested_arguments_are_refused(installation: Installation) -> None:
    arguments = field(STRUCT_FIELDS, field(1, b"anything") + field(2, nested()))
    before = await installation.rows()

    async with installation.public_channel(REQUEST_MANAGER) as channel:
        create = field(1, b"hold") + field(2, arguments)
        refused = await call(channel, "spincycle.v1.RequestManagerService/Create", create)
    async with httpx.AsyncClient() as client:
        brackets = "[" * DEPTH + "]" * DEPTH
        answer = await client.post(
            f"http://{installation.public[GATEWAY]}/api/v1/requests",
            content=f'{{"Type": "hold", "Args": {{"anything": {brackets}}}}}',
            headers={"Content-Type": "application/json"},
        )

    assert refused == "UNREADABLE_MESSAGE"
    assert answer.status_code == 400
    assert await installation.changes_since(before) == []


async def test_deeply_nested_data_of_an_entry_is_refused(installation: Installation) -> None:
    data = field(STRUCT_FIELDS, field(1, b"x") + field(2, nested()))
    before = await installation.rows()

    batch = b"\x08\x01" + field(2, field(1, b"request") + field(17, data))
    refused = await call_internal(installation, JOB_LOG, batch)

    assert refused == "UNREADABLE_MESSAGE"
    assert await installation.changes_since(before) == []


MILLION = 1_000_000

EMPTY = {
    "entries": (JOB_LOG, b"\x08\x01" + field(2, b"") * MILLION),
    "grants": (JOB_LOG, b"\x08\x01" + field(3, b"") * MILLION),
    "reports": (REQUEST_MANAGER, field(2, b"") * MILLION),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", EMPTY)
async def test_a_million_empty_entries_do_not_stop_a_service(
    installation: Installation, kind: str
) -> None:
    service, message = EMPTY[kind]
    before = await installation.rows()

    with measured(installation.members[service].pid) as growth:
        refused = await call_internal(installation, service, message)

    print(f"memory grew by {growth.megabytes:.0f} MB at most")
    assert refused == "INVALID_INPUT"
    # Decoding them costs this much, before anybody can count them.
    assert growth.megabytes < 768
    assert await installation.changes_since(before) == []
    await installation.stop_request(await installation.run_request())


@pytest.mark.slow
async def test_a_million_values_in_the_arguments_are_refused(installation: Installation) -> None:
    values = field(VALUE_LIST, field(1, b"") * MILLION)
    arguments = field(STRUCT_FIELDS, field(1, b"anything") + field(2, values))

    with measured(installation.members[REQUEST_MANAGER].pid) as growth:
        async with installation.public_channel(REQUEST_MANAGER) as channel:
            create = field(1, b"hold") + field(2, arguments)
            refused = await call(channel, "spincycle.v1.RequestManagerService/Create", create)

    assert refused == "INVALID_INPUT"
    assert growth.megabytes < 512
