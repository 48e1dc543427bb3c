"""Two states of the code, timed in turn by the same harness: make bench-compare BASE=ref.

Prints, for each figure, what it was at BASE, what it is here, and the ratio.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from tests.bench.stand import REPOSITORY

_ROUNDS = 2


def main() -> None:
    """Time both in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="commit, tag or branch to compare with")
    parser.add_argument("--only", default="limits,idle,shapes", help="as python -m tests.bench")
    parser.add_argument("--full", action="store_true", help="full runs in place of quick ones")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        base = directory / "base"
        _git("worktree", "add", "--detach", str(base), options.base)
        try:
            found: dict[str, list[dict[str, float]]] = {"base": [], "here": []}
            for number in range(_ROUNDS):
                for side, root in (("base", base), ("here", REPOSITORY)):
                    out = directory / f"{side}-{number}"
                    found[side].append(_run(root, out, options.only, full=options.full))
        finally:
            _git("worktree", "remove", "--force", str(base))
    sys.stdout.write("\n".join(_table(options.base, found)) + "\n")


def _run(root: Path, out: Path, only: str, *, full: bool) -> dict[str, float]:
    path = os.pathsep.join(str(root / part) for part in ("services", "generated"))
    command = [sys.executable, "-m", "tests.bench", "--out", str(out), "--only", only]
    command += [] if full else ["--quick"]
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, stdout=subprocess.DEVNULL)
    return dict(_figures(orjson.loads((out / "bench.json").read_bytes())))


def _figures(results: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, runs in results["shapes"].items():
        yield f"{name}: requests/s", median(run["requests"] / run["seconds"] for run in runs)
        yield f"{name}: end to end p50 ms", median(run["end_to_end"]["p50"] for run in runs)
        yield f"{name}: CPU-ms a request", median(sum(run["cpu_ms"].values()) for run in runs)
        yield f"{name}: statements", median(run["statements"] / run["requests"] for run in runs)
    for rates in results["reads"][-1:]:
        yield from (
            (f"reads: {name} / echo", rate["per_second"] / rate["echo"])
            for name, rate in rates.items()
            if rate
        )
    if idle := results["idle"]:
        yield "idle: cores", idle["cores"]
        yield "idle: statements/s", idle["statements"]
    for limits in results["limits"][-1:]:
        yield from ((f"limit: {name}", value) for name, value in limits.items())


def _table(base: str, found: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    yield f"| figure | {base} | here | here / {base} |"
    yield "| --- | --- | --- | --- |"
    for name in found["here"][0]:
        before = [one[name] for one in found["base"] if name in one]
        after = [one[name] for one in found["here"] if name in one]
        if before and after and median(before):
            ratio = median(after) / median(before)
            yield f"| {name} | {median(before):.4g} | {median(after):.4g} | {ratio:.2f} |"


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True)


if __name__ == "__main__":
    main()
