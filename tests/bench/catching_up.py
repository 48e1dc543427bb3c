"""Watchers of all requests that come again after a whole restart, beside the same bytes sent bare.

`python -m tests.bench.catching_up [--quick]` prints the table of
docs/explanation/performance.md. Requests end
while nobody watches, all services are killed and started, and every watcher resumes with the same
cursor at the same moment. What one of them was sent is then sent to as many clients by a server
that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import uvloop
from tests.bench.stand import Stand
from tests.bench.statements import Statements
from tests.bench.usage import Usage, memory_mb

from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

WATCH = "/spincycle.v1.RequestManagerService/Watch"
STREAMS_PER_CONNECTION = 50
CREATES_IN_FLIGHT = 32
AGAIN = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
MANAGER = "request-manager"
_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run."""

    watchers: int = 200
    requests: int = 5000


QUICK = Size(watchers=20, requests=200)


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What it took until every watcher had every end.

    Attributes:
        seconds: from the first call to the last end.
        last_first: seconds until the last watcher had its first message.
        megabytes: of messages, all watchers together.
        cuts: streams that ended and were opened again.
    """

    seconds: float
    last_first: float
    megabytes: float
    messages: int
    cuts: int


async def resume(address: str, cursor: str, size: Size, record: str) -> CaughtUp:
    """Be the watchers, until each has the end of every request; one writes down its messages."""
    channels = [
        grpc.aio.insecure_channel(
            address,
            options=[
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_receive_message_length", -1),
            ],
        )
        for _ in range(-(-size.watchers // STREAMS_PER_CONNECTION))
    ]
    began = time.perf_counter()
    firsts: list[float] = []
    total = messages = cuts = 0

    async def follow(place: int) -> None:
        nonlocal total, messages, cuts
        channel = channels[place % len(channels)]
        watch: grpc.aio.UnaryStreamMultiCallable[rpc.WatchRequest, bytes] = channel.unary_stream(
            WATCH, request_serializer=rpc.WatchRequest.SerializeToString
        )
        asked = rpc.WatchRequest(cursor=cursor)
        ended: set[str] = set()
        written: list[bytes] = []
        while len(ended) < size.requests:
            call = watch(asked)
            try:
                async for raw in call:
                    if not ended:
                        firsts.append(time.perf_counter() - began)
                    if record and not place:
                        written.append(raw)
                    total += len(raw)
                    messages += 1
                    response = rpc.WatchResponse.FromString(raw)
                    asked.cursor = response.cursor or asked.cursor
                    ended.update([event.request_id for event in response.events])
                    if len(ended) == size.requests:
                        break
            except grpc.aio.AioRpcError as failure:
                if failure.code() not in AGAIN:
                    raise
                cuts += 1
            call.cancel()
        if record and not place:
            parts = [len(raw).to_bytes(_LENGTH_BYTES, "big") + raw for raw in written]
            await asyncio.to_thread(Path(record).write_bytes, b"".join(parts))

    async with asyncio.TaskGroup() as group:
        for place in range(size.watchers):
            group.create_task(follow(place))
    seconds = time.perf_counter() - began
    for channel in channels:
        await channel.close()
    return CaughtUp(seconds, max(firsts), total / 1e6, messages, cuts)


async def serve_bare(record: str) -> None:
    """Send everybody the recorded messages, until the end of the input."""
    data = await asyncio.to_thread(Path(record).read_bytes)
    messages: list[bytes] = []
    place = 0
    while place < len(data):
        start = place + _LENGTH_BYTES
        place = start + int.from_bytes(data[place:start], "big")
        messages.append(data[start:place])

    async def send(_: bytes, context: object) -> AsyncIterator[bytes]:
        for message in messages:
            yield message

    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_stream_rpc_method_handler(send)
    service, method = WATCH.strip("/").split("/")
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _say(str(port))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await server.stop(0)


async def _watchers(address: str, cursor: str, size: Size, record: str) -> CaughtUp:
    """The watchers, in a process of their own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.catching_up",
        "--resume",
        address,
        "--watchers",
        str(size.watchers),
        "--requests",
        str(size.requests),
        "--record",
        record,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate(cursor.encode() + b"\n")
    if process.returncode:
        raise RuntimeError("the watchers ended with a failure")
    return CaughtUp(**json.loads(out))


async def _bare(size: Size, record: str) -> tuple[CaughtUp, float]:
    """What the bare server took, and by how many MB it grew."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.catching_up",
        "--bare",
        record,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        before = memory_mb(process.pid)
        sent = await _watchers(f"127.0.0.1:{port}", "", size, "")
        return sent, peak_mb(process.pid) - before
    finally:
        await process.communicate(b"\n")


async def _first_cursor(address: str) -> str:
    async with open_channel(address) as channel:
        call = RequestManagerServiceStub(channel).Watch(rpc.WatchRequest())
        async for response in call:
            if response.cursor:
                call.cancel()
                return response.cursor
    raise RuntimeError("the stream ended before its first cursor")


async def _run_requests(stand: Stand, count: int) -> None:
    """Create requests and wait until all have ended."""
    left = iter(range(count))
    async with open_channel(stand.request_manager) as channel:
        stub = RequestManagerServiceStub(channel)

        async def create() -> None:
            for _ in left:
                create_request = rpc.CreateRequest(type="test")
                create_request.args.update({"sleepTime": "0"})
                await stub.Create(create_request)

        await asyncio.gather(*(create() for _ in range(CREATES_IN_FLIGHT)))
    ended = "SELECT count(*) FROM request_manager.requests WHERE finished_at IS NOT NULL"
    while await stand.connection.fetchval(ended) < count:
        await asyncio.sleep(0.2)


async def _restart(stand: Stand) -> None:
    for member in stand.members.values():
        await member.end(signal.SIGKILL)
    for member in stand.members.values():
        member.start()
    await asyncio.gather(*(member.until_ready() for member in stand.members.values()))


def peak_mb(pid: int) -> float:
    """The most memory that a process has held, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


async def measure(size: Size) -> list[str]:
    """Rows of the table."""
    async with Stand() as stand:
        cursor = await _first_cursor(stand.request_manager)
        began = time.perf_counter()
        await _run_requests(stand, size.requests)
        sys.stderr.write(f"{size.requests} requests: {time.perf_counter() - began:.0f} s\n")
        await _restart(stand)
        pid = stand.pids[MANAGER]
        before = memory_mb(pid)
        statements = Statements(stand.connection)
        await statements.begin()
        with tempfile.NamedTemporaryFile() as record:
            async with Usage(stand.pids) as usage:
                caught_up = await _watchers(stand.request_manager, cursor, size, record.name)
            done = await statements.end()
            peak = peak_mb(pid)
            bare, bare_mb = await _bare(size, record.name)
    sys.stderr.write(f"{caught_up}\n{bare}\n{done}\n{usage.cpu_s}\n")
    row = (
        f"| {size.watchers} × {size.requests:,} | {caught_up.seconds:.1f} | {bare.seconds:.1f} "
        f"| {caught_up.seconds / bare.seconds:.1f} × | {caught_up.megabytes:.0f} "
        f"| {done.statements} | {before:.0f} → {peak:.0f} | + {bare_mb:.0f} | {caught_up.cuts} |"
    )
    return [row]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK}")
    parser.add_argument("--watchers", type=int, default=0)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--resume", default="", help=argparse.SUPPRESS)
    parser.add_argument("--bare", default="", help=argparse.SUPPRESS)
    parser.add_argument("--record", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    size = QUICK if asked.quick else Size()
    size = Size(asked.watchers or size.watchers, asked.requests or size.requests)
    if asked.bare:
        uvloop.run(serve_bare(asked.bare))
    elif asked.resume:
        cursor = sys.stdin.readline().strip()
        caught_up = uvloop.run(resume(asked.resume, cursor, size, asked.record))
        _say(json.dumps({name: getattr(caught_up, name) for name in caught_up.__slots__}))
    else:
        for row in uvloop.run(measure(size)):
            _say(row)


if __name__ == "__main__":
    main()
