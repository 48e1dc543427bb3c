"""Throughput against the number of runners and request managers, all on this machine.

    python -m tests.bench.scale_out [--copies 1,2,4] [--requests 300] [--out FILE]

Two requests are timed. In one, jobs wait, as most jobs do, and a runner runs so many of them at
once: what a runner may do is the limit, so throughput should grow with runners. In the other,
jobs do nothing: processors are the limit, and copies only share them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import uvloop
from tests.chaos.cluster import Cluster, Shape

from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

PLACES = 20
"""Jobs that a runner runs at once."""

WIDTH = 10
"""Jobs of a request that wait or do nothing."""

NAP_MS = 100

CREATING = 16
"""Creates in flight."""

_WIDE = "".join(
    f"      j{number}: {{category: job, type: TYPE, deps: [begin]ARGS}}\n"
    for number in range(WIDTH)
)
_SPEC = """\
  NAME:
    request: true
    args:
      static:
        - {name: duration, default: "NAP"}
    nodes:
      begin: {category: job, type: noop}
"""
SPECS = "sequences:\n" + "".join(
    _SPEC.replace("NAME", name).replace("NAP", str(NAP_MS))
    + _WIDE.replace("TYPE", type_).replace("ARGS", args)
    for name, type_, args in (
        ("waits", "sleep", ", args: [{expected: duration}]"),
        ("nothing", "noop", ""),
    )
)


@dataclass(frozen=True, slots=True)
class Figures:
    """One run.

    Attributes:
        copies: of the runner and of the request manager each.
        jobs_a_second: of those that wait or do nothing.
        share: most requests that a runner had, over the mean.
    """

    request: str
    copies: int
    requests: int
    seconds: float
    jobs_a_second: float
    share: float


async def measure(copies: int, requests: int) -> list[Figures]:
    """Start so many copies from nothing, and time both requests."""
    with tempfile.TemporaryDirectory(prefix="spincycle-bench-") as directory:
        home = Path(directory)
        home.chmod(0o755)
        (home / "specs").mkdir()
        (home / "specs" / "wide.yaml").write_text(SPECS)
        shape = Shape(
            request_managers=copies,
            job_runners=copies,
            job_logs=1,
            gateway=False,
            settings={
                "RM": {"SPECS_DIR": str(home / "specs")},
                "JR": {"MAX_JOBS": str(PLACES)},
            },
        )
        cluster = Cluster(home, shape)
        try:
            await cluster.start()
            return [await _time(cluster, name, requests) for name in ("waits", "nothing")]
        finally:
            await cluster.stop()


async def _time(cluster: Cluster, name: str, requests: int) -> Figures:
    before = _given(cluster)
    connection = await cluster.connect()
    async with open_channel(cluster.request_manager) as channel:
        manager = RequestManagerServiceStub(channel)
        turns = asyncio.Semaphore(CREATING)

        async def create() -> None:
            async with turns:
                await manager.Create(rpc.CreateRequest(type=name), wait_for_ready=True)

        began = time.perf_counter()
        await asyncio.gather(*(create() for _ in range(requests)))
        while await connection.fetchval(
            "SELECT count(*) FROM request_manager.requests WHERE state IN (1, 2, 7)"
        ):
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - began
    await connection.close()
    given = _given(cluster)
    given.subtract(before)
    share = max(given.values()) * len(cluster.job_runners) / requests
    return Figures(
        request=name,
        copies=len(cluster.job_runners),
        requests=requests,
        seconds=seconds,
        jobs_a_second=requests * WIDTH / seconds,
        share=share,
    )


def _given(cluster: Cluster) -> Counter[str]:
    """How many requests each runner took so far, as the request managers logged it."""
    given: Counter[str] = Counter()
    for member in cluster.request_managers:
        for line in member.log.read_bytes().splitlines():
            if b'"event":"dispatched"' in line:
                given[orjson.loads(line)["runner_id"]] += 1
    return given


async def _main(copies: list[int], requests: int) -> list[Figures]:
    figures = []
    for count in copies:
        for one in await measure(count, requests):
            figures.append(one)
            _write_line(
                f"| {one.request} | {one.copies} | {one.jobs_a_second:,.0f} | {one.seconds:.1f} "
                f"| {one.share:.2f} |"
            )
    return figures


def _write_line(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a report


def main() -> None:
    """Measure, print the table, and write it down if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", default="1,2,4")
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    _write_line(f"{platform.platform()}, Python {platform.python_version()}\n")
    _write_line("| request | copies | jobs/s | seconds | largest share over the mean |")
    _write_line("| --- | --- | --- | --- | --- |")
    copies = [int(count) for count in options.copies.split(",")]
    figures = uvloop.run(_main(copies, options.requests))
    if options.out:
        options.out.write_text(json.dumps([asdict(one) for one in figures], indent=2) + "\n")


if __name__ == "__main__":
    main()
