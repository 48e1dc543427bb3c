"""Watchers of one request manager while jobs run: how late events arrive, and their cost.

`python -m tests.bench.watchers [--quick]` prints the table of docs/explanation/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from statistics import quantiles

import grpc
import uvloop
from tests.bench.stand import Stand
from tests.bench.usage import Usage, memory_mb

from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import spec_service_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub
from spincycle.v1.spec_service_pb2_grpc import SpecServiceStub

SPEC = """
sequences:
  steps:
    request: true
    nodes:
{nodes}
"""
STEP = "      n{n}: {{category: job, type: sleep, args: [{{expected: duration, given: ms}}]{deps}}}"
STREAMS_PER_CONNECTION = 500
BEGIN_AT_ONCE = 100
"""gRPC itself turns calls away that come by the thousand before the first ones are taken."""

MANAGER = "request-manager"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run.

    Attributes:
        watchers: requests, each with a watcher of its own.
        of_all: watchers of all requests.
        idle: watchers of requests in which nothing happens.
        seconds: length of the stretch that is timed.
        pause: seconds that each job takes; every request runs one after another.
    """

    watchers: int = 1000
    of_all: int = 10
    idle: int = 10_000
    seconds: float = 20.0
    pause: float = 2.0


QUICK = Size(watchers=100, of_all=2, idle=1000, seconds=5.0, pause=1.0)


@dataclass(slots=True)
class ReceivedEvents:
    """What the watchers of a process received during a stretch."""

    began: float
    ends: float
    late: list[float] = field(default_factory=list)
    cuts: int = 0

    def take(self, response: rpc.WatchResponse) -> None:
        """Note how late events came."""
        now = time.time()
        if self.began <= now < self.ends:
            for event in response.events:
                at = event.occurred_at
                self.late.append(now - at.seconds - at.nanos / 1e9)


async def watch(  # noqa: PLR0915 # one run from the first connection to the report
    address: str, ids: list[str], of_all: int, seconds: float
) -> None:
    """Run the watchers of one process: write "ready", wait for a line, and time the stretch."""
    wanted = [rpc.WatchRequest(request_ids=[request_id]) for request_id in ids]
    wanted += [rpc.WatchRequest() for _ in range(of_all)]
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(len(wanted) // STREAMS_PER_CONNECTION + 1)
    ]
    received = ReceivedEvents(float("inf"), 0.0)
    ready = 0
    all_ready = asyncio.Event()
    beginning = asyncio.Semaphore(BEGIN_AT_ONCE)

    async def follow(stub: RequestManagerServiceStub, asked: rpc.WatchRequest) -> None:
        nonlocal ready
        await beginning.acquire()
        is_first = not asked.cursor
        async for response in stub.Watch(asked):
            if is_first and (asked.request_ids or response.cursor):
                is_first = False
                ready += 1
                beginning.release()
                if ready == len(wanted):
                    all_ready.set()
            received.take(response)
            asked.cursor = response.cursor or asked.cursor
            if response.events:
                asked.cursor = response.events[-1].cursor or asked.cursor
        raise AssertionError("a watcher's stream ended")

    async def one(place: int, asked: rpc.WatchRequest) -> None:
        stub = RequestManagerServiceStub(channels[place % len(channels)])
        while True:
            try:
                await follow(stub, asked)
            except grpc.aio.AioRpcError as failure:
                if failure.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                received.cuts += 1
                beginning.release()

    async def timed() -> None:
        await all_ready.wait()
        _write_line("ready")
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, sys.stdin.readline)
        received.began = time.time()
        received.ends = received.began + seconds
        await asyncio.sleep(seconds)

    tasks = [asyncio.create_task(one(place, asked)) for place, asked in enumerate(wanted)]
    timing = asyncio.create_task(timed())
    await asyncio.wait({timing, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()
    cuts = [0.0, 0.0]
    if len(received.late) > 1:
        twentieths = quantiles(received.late, n=20)
        cuts = [twentieths[9], twentieths[18]]
    figures = {"events": len(received.late), "p50": cuts[0], "p95": cuts[1], "cuts": received.cuts}
    _write_line(json.dumps(figures))


class Watchers:
    """A process of watchers."""

    def __init__(self, address: str, ids: list[str], of_all: int, seconds: float) -> None:
        self._arguments = ["--watch", address, "--all", str(of_all), "--seconds", str(seconds)]
        self._ids = ids
        self._process: asyncio.subprocess.Process | None = None

    async def attach(self) -> None:
        """Return when every watcher has received its first message."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.bench.watchers",
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(self._ids).encode() + b"\n")
        line = await self._process.stdout.readline()
        assert line == b"ready\n", line

    async def timed(self) -> dict[str, float]:
        """Time a stretch, and end."""
        assert self._process is not None
        out, _ = await self._process.communicate(b"go\n")
        figures: dict[str, float] = json.loads(out)
        return figures


async def create(stand: Stand, kind: str, count: int, spread: float, **args: str) -> list[str]:
    """Requests, begun one after another over some seconds."""
    ids: list[str] = []
    async with open_channel(stand.request_manager) as channel:
        stub = RequestManagerServiceStub(channel)
        for _ in range(count):
            began = time.perf_counter()
            create_request = rpc.CreateRequest(type=kind)
            create_request.args.update(args)
            ids.append((await stub.Create(create_request)).request.id)
            await asyncio.sleep(max(0.0, spread / count - (time.perf_counter() - began)))
    return ids


async def measure(size: Size) -> list[str]:
    """Rows of the table."""
    rows: list[str] = []
    async with Stand() as stand:
        pid = stand.pids[MANAGER]
        steps = int((3 * size.seconds + 120) / size.pause)
        nodes = [STEP.format(n=n, deps=f", deps: [n{n - 1}]" if n else "") for n in range(steps)]
        spec = SPEC.format(nodes="\n".join(nodes)).replace(
            "    request: true\n", "    request: true\n    args: {required: [{name: ms}]}\n"
        )
        (stand.home / "specs" / "steps.yaml").write_text(spec)
        async with open_channel(stand.request_manager) as channel:
            reloaded = await SpecServiceStub(channel).ReloadSpecs(
                spec_service_pb2.ReloadSpecsRequest()
            )
            assert reloaded.changed, reloaded
        ms = str(int(size.pause * 1000))
        ids = await create(stand, "steps", size.watchers, max(5.0, size.watchers / 50), ms=ms)
        async with Usage(stand.pids) as unwatched:
            await asyncio.sleep(size.seconds)
        before = memory_mb(pid)
        named = Watchers(stand.request_manager, ids, 0, size.seconds)
        await named.attach()
        with_named = memory_mb(pid)
        of_all = Watchers(stand.request_manager, [], size.of_all, size.seconds)
        await of_all.attach()
        async with Usage(stand.pids) as watched:
            one, every = await asyncio.gather(named.timed(), of_all.timed())
        count = size.watchers + size.of_all
        more = watched.cpu_s[MANAGER] - unwatched.cpu_s[MANAGER]
        runner = watched.cpu_s["job-runner"] - unwatched.cpu_s["job-runner"]
        for who, figures in (
            (f"{size.watchers}, each of its own", one),
            (f"{size.of_all} of all", every),
        ):
            rows.append(
                f"| {who} | {figures['events'] / size.seconds:.0f} "
                f"| {figures['p50'] * 1000:.1f} | {figures['p95'] * 1000:.1f} | {figures['cuts']} |"
            )
        rows.append(
            f"CPU of the request manager: {100 * unwatched.cpu_s[MANAGER] / size.seconds:.0f} % of "
            f"a core unwatched, {100 * watched.cpu_s[MANAGER] / size.seconds:.0f} % watched: "
            f"{more / size.seconds / count * 1e6:.0f} us a second and watcher; the runner takes "
            f"{100 * runner / size.seconds:.0f} % more. Memory: "
            f"{(with_named - before) * 1024 / size.watchers:.1f} kB a watcher."
        )
    return rows


async def idle(size: Size) -> str:
    """Return the row for the cost of many watchers that receive no event."""
    async with Stand() as stand:
        return await _idle(stand, size)


async def _idle(stand: Stand, size: Size) -> str:
    pid = stand.pids[MANAGER]
    ids = await create(stand, "sleepers", size.idle // 10, 5.0, duration="3600000")
    await asyncio.sleep(2)
    before = memory_mb(pid)
    watchers = Watchers(stand.request_manager, ids * 10, 0, size.seconds)
    await watchers.attach()
    after = memory_mb(pid)
    async with Usage(stand.pids) as usage:
        await watchers.timed()
    cpu = {name: 100 * seconds / size.seconds for name, seconds in usage.cpu_s.items()}
    return (
        f"{size.idle} idle watchers: {(after - before) * 1024 / size.idle:.1f} kB each, the "
        f"request manager at {cpu[MANAGER]:.1f} % of a core, PostgreSQL at "
        f"{cpu['postgresql']:.1f} %."
    )


def _write_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--watch", default="", help=argparse.SUPPRESS)
    parser.add_argument("--all", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.watch:
        ids = json.loads(sys.stdin.readline())
        uvloop.run(watch(asked.watch, ids, asked.all, asked.seconds))
    else:
        size = QUICK if asked.quick else Size()
        for row in uvloop.run(measure(size)):
            _write_line(row)
        _write_line(uvloop.run(idle(size)))


if __name__ == "__main__":
    main()
