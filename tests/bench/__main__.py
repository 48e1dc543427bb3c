"""Time everything, beside what the machine could do: python -m tests.bench, or make bench.

Starts the whole stack from nothing, with everything on that it promises, and writes JSON and
Markdown. --only names parts: limits, shapes, reads, idle, journal, large, sleepers, starts,
tokens.
--shapes reduces the shapes to those that are named, with semicolons between: "one no-op" with any
number of requests in flight, "one no-op @ 64" with 64.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import uvloop

import spincycle.runtime.polling  # isort: skip # noqa: F401 # as the services, before gRPC is imported

from tests.bench.aged_journal import take_aged_journal
from tests.bench.bare_batch import take_bare_batch
from tests.bench.dev_start import take_dev_start
from tests.bench.limits import take_limits
from tests.bench.load import ClosedLoop
from tests.bench.reads import take_reads
from tests.bench.report import markdown
from tests.bench.results import Results
from tests.bench.selection import select
from tests.bench.shapes import NOOP, TEST, Shape, chain, fan, nested
from tests.bench.stand import REPOSITORY, Stand
from tests.bench.stretches import (
    take_grpc_create,
    take_idle,
    take_large,
    take_sleepers,
    take_spinc,
)
from tests.bench.tokens import take_token_costs
from tests.issuer.signing_keys import ALGORITHMS

PARTS = ("limits", "idle", "shapes", "reads", "starts", "journal", "large", "sleepers", "tokens")
"""What can be measured; the last four do not use the common stand."""

# Requests of a full run, by those in flight.
_COUNTS: dict[Shape, dict[int, int]] = {
    NOOP: {1: 200, 8: 800, 64: 2000},
    TEST: {1: 100, 8: 400, 64: 1000},
    chain(100): {1: 10, 8: 80, 64: 128},
    fan(100): {1: 20, 8: 80, 64: 192},
    chain(1000): {1: 5, 8: 16},
    fan(1000): {1: 10, 8: 24},
}
_LARGE = (1_000, 10_000, 100_000)


def main() -> None:
    """Measure, print the report, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one repetition of a tenth")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--shapes", default="", help="shapes by name, with semicolons between")
    parser.add_argument("--rpcs", action="store_true", help="count RPCs; services serve metrics")
    parser.add_argument(
        "--tls",
        action="store_true",
        help="let the services call each other by mutual TLS over loopback TCP, not Unix sockets",
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="directory to write to")
    options = parser.parse_args()
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    counts: Mapping[Shape, Mapping[int, int]] = _COUNTS
    if options.shapes:
        counts = select(_COUNTS, options.shapes.split(";"))
    results = Results(
        commit=_commit(),
        hardware=_hardware(),
        started_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        quick=options.quick,
    )
    repeat = 1 if options.quick else options.repeat
    bench = Bench(
        results,
        parts,
        repeat,
        counts,
        partial(Stand, uses_tls=options.tls),
        quick=options.quick,
        rpcs=options.rpcs,
    )
    uvloop.run(bench.run())
    options.out.mkdir(parents=True, exist_ok=True)
    report = markdown(results)
    (options.out / "bench.json").write_bytes(
        orjson.dumps(asdict(results), option=orjson.OPT_INDENT_2)
    )
    (options.out / "bench.md").write_text(report)
    sys.stdout.write(report)


class Bench:
    """Measures one part after another; the failure of one is reported and does not end the rest."""

    def __init__(
        self,
        results: Results,
        parts: list[str],
        repeat: int,
        counts: Mapping[Shape, Mapping[int, int]],
        stand: Callable[..., Stand],
        *,
        quick: bool,
        rpcs: bool,
    ) -> None:
        self._results = results
        self._parts = parts
        self._repeat = repeat
        self._counts = counts
        self._quick = quick
        self._rpcs = rpcs
        self._stand = stand
        self._seconds = 1.0 if quick else 3.0

    async def run(self) -> None:
        """Measure what was asked for."""
        if set(self._parts) & {"limits", "idle", "shapes", "reads", "starts"}:
            async with self._stand(serves_metrics=self._rpcs) as stand:
                self._results.start_seconds = stand.start_seconds
                for part, take in (
                    ("idle", self._idle),
                    ("limits", self._limits),
                    ("shapes", self._shapes),
                    ("starts", self._starts),
                    ("reads", self._reads),
                ):
                    await self._take(part, take, stand)
        await self._take("tokens", self._tokens, None)
        if "sleepers" in self._parts and not self._quick:
            async with self._stand(()) as stand:
                await self._take("sleepers", self._sleepers, stand)
        if "journal" in self._parts:
            async with self._stand((100,)) as stand:
                await self._take("journal", self._journal, stand)
        if "large" in self._parts:
            sizes = _LARGE[:2] if self._quick else _LARGE
            for shape in (chain, fan, nested):
                for size in sizes:
                    await self._take("large", partial(self._large, shape(size), size), None)

    async def _take(
        self, part: str, take: Callable[[Any], Coroutine[Any, Any, None]], stand: Stand | None
    ) -> None:
        if part not in self._parts:
            return
        began = time.perf_counter()
        try:
            await take(stand)
        except (RuntimeError, OSError, TimeoutError) as error:
            self._results.problems.append(f"{part}: {type(error).__name__}: {error}")
        sys.stderr.write(f"{part}: {time.perf_counter() - began:.0f} s\n")

    async def _idle(self, stand: Stand) -> None:
        await asyncio.sleep(5)
        self._results.idle = await take_idle(stand, 10 if self._quick else 30)

    async def _limits(self, stand: Stand) -> None:
        for _ in range(self._repeat):
            self._results.limits.append(await take_limits(stand, self._seconds))

    async def _shapes(self, stand: Stand) -> None:
        for shape, counts in self._counts.items():
            for in_flight, full in counts.items():
                count = max(2, full // 10 if self._quick else full)
                await ClosedLoop(stand, shape, in_flight, max(2, count // 5)).run()
                for _ in range(self._repeat):
                    bare = await take_bare_batch(stand, 8, 0.5)
                    figures = await ClosedLoop(stand, shape, in_flight, count).run()
                    figures.bare_batch_cpu_ms = bare.cpu_ms
                    self._results.add(figures)
        self._results.grpc_create = await take_grpc_create(stand, 50 if self._quick else 300)

    async def _starts(self, stand: Stand) -> None:
        self._results.spinc_ms = await asyncio.to_thread(take_spinc, stand, 5)
        self._results.dev_seconds = await take_dev_start(1 if self._quick else 3)

    async def _tokens(self, _: None) -> None:
        for algorithm in ALGORITHMS:
            self._results.tokens.append(await take_token_costs(algorithm))

    async def _reads(self, stand: Stand) -> None:
        for _ in range(self._repeat):
            self._results.reads.append(await take_reads(stand, self._seconds))
            if not self._results.limits:
                self._results.limits.append(await take_limits(stand, self._seconds))

    async def _journal(self, stand: Stand) -> None:
        entries = 500_000 if self._quick else 10_000_000
        self._results.journal = await take_aged_journal(stand, entries, self._seconds)

    async def _large(self, shape: Shape, size: int, _: None) -> None:
        # Each on a stand of its own, so that its memory is its own, too.
        async with self._stand((size,)) as stand:
            self._results.large.append(await take_large(stand, shape))

    async def _sleepers(self, stand: Stand) -> None:
        self._results.sleepers = await take_sleepers(stand, 10_000)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _hardware() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = Path("/proc/meminfo").read_text().split()[1]
    return (
        f"{len(names)} cores ({names[0] if names else platform.machine()}), "
        f"{int(memory) / 2**20:.0f} GB, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    main()
