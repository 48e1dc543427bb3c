"""Bytes that no client should send, on raw sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import NamedTuple

import pytest
from google.protobuf.struct_pb2 import Value
from msgspec.structs import replace
from tests.conformance import samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID
from tests.waiting import until

from spincycle.gateway.config import GatewayConfig, HttpLimitsConfig
from spincycle.v1 import request_manager_service_pb2 as rm

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /api/v1/requests HTTP/1.1\r\nHost: x\r\n"
PATIENCE = 20


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Caller:
    """A connection on which anything can be sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send it; that the other side has had enough is no matter."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def reply(self) -> Reply:
        """The next answer."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return Reply(int(head[0].split(" ")[1]), headers, body)

    async def is_closed(self) -> bool:
        """Wait for the end of what the other side sends; whether it said no more."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.reader.read() == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def connected(stack: Stack) -> AsyncIterator[Caller]:
    caller = Caller(*await asyncio.open_connection(*stack.address))
    try:
        yield caller
    finally:
        caller.writer.close()
        with suppress(ConnectionError):
            await caller.writer.wait_closed()


@pytest.fixture
def config(config: GatewayConfig) -> GatewayConfig:
    limits = HttpLimitsConfig(
        header_timeout=0.2, body_timeout=0.2, answer_timeout=0.5, connections=20
    )
    return replace(config, limits=limits)


@pytest.fixture(autouse=True)
async def nothing_is_left(stack: Stack) -> AsyncIterator[None]:
    """After each of these the gateway answers, and holds no connection and no task of it."""
    before = len(asyncio.all_tasks())
    yield
    async with connected(stack) as caller:
        await caller.send(HEALTH)
        assert (await caller.reply()).status == 200
    await until(lambda: not stack.gateway._api._server.server_state.connections)
    await until(lambda: len(asyncio.all_tasks()) <= before)


def post(body: bytes, path: bytes = b"/api/v1/requests", length: int | None = None) -> bytes:
    return (
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (path, len(body) if length is None else length, body)
    )


@pytest.mark.parametrize(
    "sent", [b"", b"GET /healthz HT", HEALTH[:-2], HEALTH[:-2] + b"X-Half: a", b"\r\n\r\n"]
)
async def test_an_incomplete_header_times_out(stack: Stack, sent: bytes) -> None:
    async with connected(stack) as caller:
        await caller.send(sent)

        assert (await caller.reply())[:1] == (408,)
        assert await caller.is_closed()


async def test_a_slow_header_times_out(stack: Stack) -> None:
    async with connected(stack) as caller:
        replied = asyncio.create_task(caller.reply())
        for byte in (HEALTH[:-2] + b"X: " + b"y" * 10_000) * 100:
            if replied.done():
                break
            await caller.send(bytes([byte]))
            await asyncio.sleep(0.005)

        assert (await replied).status == 408
        assert await caller.is_closed()


async def test_a_slow_body_times_out_with_a_reason(stack: Stack) -> None:
    async with connected(stack) as caller:
        await caller.send(post(b'{"type":', length=100))

        reply = await caller.reply()

        assert (reply.status, reply.body) == (408, b'{"message":"Request Timeout"}\n')
        assert await caller.is_closed()


async def test_a_body_of_100_mb_is_rejected_before_it_is_sent(stack: Stack) -> None:
    async with connected(stack) as caller:
        await caller.send(post(b"", length=100 * 2**20))

        reply = await caller.reply()

        assert (reply.status, reply.body) == (413, b'{"message":"Request Entity Too Large"}\n')
        assert reply.headers["connection"] == "close"
        assert await caller.is_closed()


async def test_a_body_of_unknown_length_is_read_up_to_its_limit(stack: Stack) -> None:
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    async with connected(stack) as caller:
        await caller.send(
            b"POST /api/v1/requests HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        replied = asyncio.create_task(caller.reply())
        sent = 0
        while not replied.done() and sent < 100 * 2**20:
            await caller.send(chunk)
            sent += 0x10000
            await asyncio.sleep(0)

        assert (await replied).status == 413
        assert sent < 100 * 2**20


async def test_an_ignored_body_is_not_read_as_the_next_call(
    stack: Stack,
) -> None:
    async with connected(stack) as caller:
        body = HEALTH.replace(b"healthz", b"openapi.json")
        await caller.send(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        await caller.send(HEALTH)

        assert (await caller.reply()).body == b'{"status":"ok"}\n'
        assert (await caller.reply()).body == b'{"status":"ok"}\n'


async def test_ten_thousand_keys_are_read(stack: Stack) -> None:
    stack.manager.respond(Create=rm.CreateResponse(request=samples.a_request()))
    many = {f"key{number}": number for number in range(10_000)}
    async with connected(stack) as caller:
        await caller.send(post(json.dumps({"type": "drain", "args": many, **many}).encode()))

        assert (await caller.reply()).status == 201
    assert len(stack.manager.last("Create").args.fields) == 10_000


async def test_ten_thousand_parameters_are_rejected(stack: Stack) -> None:
    query = b"&".join(b"a=%d" % number for number in range(10_000))[:30_000]
    async with connected(stack) as caller:
        await caller.send(b"GET /api/v1/requests?%s HTTP/1.1\r\nHost: x\r\n\r\n" % query)

        reply = await caller.reply()

        assert (reply.status, reply.body) == (400, b'{"message":"too many query parameters"}\n')


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"args":' * 100_000,
        b'{"type":"x","args":{"a":' + b"[" * 2000 + b"]" * 2000 + b"}}",
        b'{"type":"\xff\xfe","args":[]}',
        b"\xff\xfe{}",
        b"\x00",
        b'{"type":"x","args":{"a":1e999}}',
        b'{"type":"x","args":{"a":' + b"9" * 100_000 + b"}}",
        b'{"type":"x","priority":1e400}',
    ],
    ids=range(9),
)
async def test_an_invalid_body_is_a_client_error(stack: Stack, body: bytes) -> None:
    async with connected(stack) as caller:
        await caller.send(post(body))

        assert (await caller.reply()).status == 400


@pytest.mark.parametrize(
    "target",
    [b"/api/v1/requests/\xff\xfe", b"/api/v1/requests/%ff%fe", b"/api/v1/requests/%C3%28"],
)
async def test_a_path_that_is_not_utf8_matches_no_request(stack: Stack, target: bytes) -> None:
    stack.manager.respond(Get=lambda message: rm.GetResponse(request=samples.a_request()))
    async with connected(stack) as caller:
        await caller.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)

        assert (await caller.reply()).status in {200, 400}
    assert all("\ufffd" in message.request_id for message in stack.manager.received["Get"])


async def test_a_header_that_is_not_text_is_not_forwarded(stack: Stack) -> None:
    stack.manager.respond(Create=rm.CreateResponse(request=samples.a_request()))
    async with connected(stack) as caller:
        head = post(b'{"type":"drain"}').replace(
            b"Host: x\r\n", b"Host: x\r\nIdempotency-Key: \xff\xfe\r\nX-Request-Id: \xff\r\n"
        )
        await caller.send(head)

        reply = await caller.reply()

    assert reply.status == 201
    assert reply.headers["x-request-id"].isalnum()
    assert stack.manager.last("Create").idempotency_key == "\xff\xfe"


async def test_pipelined_calls_are_completed_in_order(stack: Stack) -> None:
    stack.manager.respond(
        Get=lambda message: rm.GetResponse(request=samples.a_request(request_id=message.request_id))
    )
    async with connected(stack) as caller:
        await caller.send(
            b"".join(
                b"GET /api/v1/requests/r%d HTTP/1.1\r\nHost: x\r\n\r\n" % number
                for number in range(200)
            )
        )
        replies = [await caller.reply() for _ in range(200)]

    assert [json.loads(reply.body)["id"] for reply in replies] == [f"r{n}" for n in range(200)]


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nA\x00B: x\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 9999999999999999999999\r\n\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=range(12),
)
async def test_bytes_that_are_not_http_close_the_connection(stack: Stack, sent: bytes) -> None:
    async with connected(stack) as caller:
        await caller.send(sent)

        assert (await caller.reply()).status == 400
        assert await caller.is_closed()


@pytest.mark.parametrize(
    "header",
    [
        b"X: " + b"y" * 40_000,
        b"\r\n".join(b"X-%d: y" % number for number in range(200)),
        b"Cookie: " + b"z" * 2**20,
    ],
    ids=range(3),
)
async def test_headers_that_are_too_many_or_too_large_are_rejected(
    stack: Stack, header: bytes
) -> None:
    async with connected(stack) as caller:
        await caller.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")

        assert (await caller.reply()).status == 431
        assert await caller.is_closed()


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nX: "])
async def test_an_endless_line_is_rejected_before_its_timeout(stack: Stack, start: bytes) -> None:
    async with connected(stack) as caller:
        await caller.send(start + b"a" * 40_000)

        assert (await caller.reply()).status == 431
        assert await caller.is_closed()


async def test_a_path_that_is_too_long_is_rejected(stack: Stack) -> None:
    async with connected(stack) as caller:
        await caller.send(b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: x\r\n\r\n")

        assert (await caller.reply()).status == 431


async def test_too_many_connections_are_rejected(stack: Stack) -> None:
    async with AsyncExitStack() as opened:
        callers = [await opened.enter_async_context(connected(stack)) for _ in range(30)]
        for caller in callers:
            await caller.send(HEALTH)
        statuses = [(await caller.reply()).status for caller in callers]

    assert sorted(statuses) == [200] * 20 + [503] * 10


async def test_a_disconnect_during_the_body_ends_the_call(stack: Stack) -> None:
    async with connected(stack) as caller:
        await caller.send(post(b'{"type":', length=100))
    async with connected(stack) as caller:
        await caller.send(post(b'{"type":', length=100))
        caller.writer.transport.abort()


async def test_a_disconnect_before_the_response_ends_the_call(stack: Stack) -> None:
    received, ended = asyncio.Event(), asyncio.Event()

    async def never(_: object) -> object:
        received.set()
        try:
            return await asyncio.Event().wait()
        finally:
            ended.set()

    stack.manager.respond(Get=never)
    async with connected(stack) as caller:
        await caller.send(b"GET /api/v1/requests/%s HTTP/1.1\r\nHost: x\r\n\r\n" % ID.encode())
        await received.wait()
        caller.writer.transport.abort()
    async with asyncio.timeout(PATIENCE):
        await ended.wait()


@pytest.mark.parametrize("size", [2**18, 2**23])
async def test_a_caller_that_does_not_read_is_disconnected(stack: Stack, size: int) -> None:
    request = samples.a_request()
    request.args.add(name="large", value=Value(string_value="x" * size))
    stack.manager.respond(Get=rm.GetResponse(request=request))
    send = b"GET /api/v1/requests/%s HTTP/1.1\r\nHost: x\r\n\r\n" % ID.encode()

    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)  # noqa: FBT003 # the signature of socket
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, stack.address)
        await loop.sock_sendall(raw, send * 50)

        await until(lambda: stack.manager.received["Get"])
        await until(lambda: not stack.gateway._api._server.server_state.connections)


async def test_a_caller_that_reads_slowly_gets_the_whole_response(stack: Stack) -> None:
    request = samples.a_request()
    request.args.add(name="large", value=Value(string_value="x" * 2**20))
    stack.manager.respond(Get=rm.GetResponse(request=request))

    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        raw.setblocking(False)  # noqa: FBT003 # the signature of socket
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, stack.address)
        await loop.sock_sendall(
            raw, b"GET /api/v1/requests/%s HTTP/1.0\r\nHost: x\r\n\r\n" % ID.encode()
        )
        taken = 0
        while part := await loop.sock_recv(raw, 65_536):
            taken += len(part)
            await asyncio.sleep(0.05)

    assert taken > 2**20


async def test_expect_100_continue_is_honoured(stack: Stack) -> None:
    stack.manager.respond(Create=rm.CreateResponse(request=samples.a_request()))
    body = b'{"type":"drain"}'
    async with connected(stack) as caller:
        head = post(b"", length=len(body)).replace(
            b"Host: x\r\n", b"Host: x\r\nExpect: 100-continue\r\n"
        )
        await caller.send(head)
        async with asyncio.timeout(PATIENCE):
            assert await caller.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await caller.send(body)

        assert (await caller.reply()).status == 201
