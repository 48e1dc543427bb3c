"""Compare the performance of another commit and of this tree: make bench-compare BASE=ref.

With --tls, compare two transports of this tree instead: make bench-tls. The base calls services
over Unix sockets, and the other side by mutual TLS over loopback TCP.

Each side runs its own harness against its own services, in alternating order, and figures are
joined by name. Prints a Markdown table: the median ratio of CPU time with an interval that covers
it with at least 90 %, and statements, commits and RPCs per request.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
from tests.bench.comparison import (
    COUNTS,
    LEAST_PAIRS,
    Comparison,
    Count,
    Figure,
    Pair,
    Ratio,
    SideName,
    compare,
    median_interval,
    order,
    read_run,
    violations,
)
from tests.bench.side import REPOSITORY, RunFailed, Side, Workload, worktree

SHAPES = "one no-op @ 1; one no-op @ 64; test, sleep 0 @ 64; chain of 100 @ 8; fan of 100 @ 8"
"""What is measured by default: the shapes with a budget of CPU time, and one request alone."""

_SECONDS = {(False, False): 40, (True, False): 18, (False, True): 110, (True, True): 45}
"""Seconds per run, by (is quick, is all shapes), on two idle cores: for the first estimate only."""

TRANSPORTS: dict[SideName, str] = {"base": "Unix sockets", "here": "mutual TLS"}
"""Transports of the sides with --tls."""

_ABSENT = "–"


@dataclass(slots=True)
class Runs:
    """What has been run so far.

    Attributes:
        commits: what each side's harness recorded as its commit, after the name of its transport if
            that is compared.
        pairs: complete pairs only.
    """

    commits: dict[str, str]
    pairs: list[Pair]


def main() -> None:
    """Run all pairs, print the table, and exit with 1 if a run failed or the limit is exceeded."""
    options = _options()
    _unwind_on_signals()
    workload = Workload("" if options.shapes == "all" else options.shapes, options.quick)
    runs = Runs({"base": options.base or "this tree", "here": "this tree"}, [])
    failure = ""
    with tempfile.TemporaryDirectory(prefix="spincycle-compare-") as name:
        out = options.out.absolute() if options.out else Path(name, "runs")
        try:
            _run_pairs(runs, options, workload, Path(name), out / "runs" if options.out else out)
        except RunFailed as error:
            failure = str(error)
        except subprocess.CalledProcessError as error:
            failure = f"cannot prepare the comparison: {' '.join(error.cmd)} failed"
    found: list[str] = []
    if runs.pairs:
        comparison = compare(runs.pairs)
        report = "\n".join(markdown(comparison, runs)) + "\n"
        if options.worse_than is not None:
            found = violations(comparison, options.worse_than)
        sys.stdout.write(report + "".join(f"- {one}\n" for one in found))
        if options.out:
            _write(options.out, runs, comparison, report)
    if failure:
        sys.stderr.write(f"error: {failure}\n")
    sys.exit(1 if failure or found else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", nargs="?", help="commit, tag or branch to compare with")
    parser.add_argument(
        "--tls", action="store_true", help="compare mutual TLS with Unix sockets, both of this tree"
    )
    parser.add_argument("--pairs", type=int, default=LEAST_PAIRS, help="runs of each side")
    parser.add_argument(
        "--shapes", default=SHAPES, help=f'with semicolons between, or "all"; "{SHAPES}" by default'
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests per run")
    parser.add_argument(
        "--trial", action="store_true", help="allow fewer pairs; their intervals are no evidence"
    )
    parser.add_argument("--out", type=Path, help="directory for comparison.json and the runs")
    parser.add_argument(
        "--worse-than",
        type=float,
        metavar="N",
        help="exit with 1 unless counts did not rise and no interval lies above 1 + N/100",
    )
    options = parser.parse_args()
    if options.tls == bool(options.base):
        parser.error("name a commit to compare with, or --tls")
    if options.pairs < (1 if options.trial else LEAST_PAIRS):
        parser.error(f"--pairs must be at least {LEAST_PAIRS}, or with --trial at least 1")
    return options


def _unwind_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP unwind this process, so that it removes what it made."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def unwind(number: int, _: FrameType | None) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        sys.exit(128 + number)

    # A shell starts background processes with SIGINT ignored, which their children would inherit.
    for number in numbers:
        signal.signal(number, unwind)


def _run_pairs(
    runs: Runs, options: argparse.Namespace, workload: Workload, directory: Path, out: Path
) -> None:
    total = 2 * options.pairs
    expected = _SECONDS[workload.quick, not workload.shapes]
    _note(
        f"pairs to run: {options.pairs}, about {total * expected / 60:.0f} min on an idle machine"
    )
    with _sides(options, directory) as sides:
        began = time.monotonic()
        for number in range(options.pairs):
            pair: dict[SideName, dict[str, Figure]] = {}
            for name in order(number):
                results = sides[name].run(workload, out / f"{number + 1}-{name}")
                if commit := results.get("commit"):
                    prefix = f"{TRANSPORTS[name]} at " if options.tls else ""
                    runs.commits[name] = prefix + commit
                pair[name] = read_run(results)
            if not (pair["base"] or pair["here"]):
                raise RunFailed(f"neither side has any of the shapes {workload.shapes}")
            runs.pairs.append(Pair(pair["base"], pair["here"]))
            took = (time.monotonic() - began) / (number + 1)
            left = took * (options.pairs - number - 1) / 60
            _note(f"pair {number + 1} of {options.pairs}; {took:.0f} s each; {left:.0f} min left")


@contextmanager
def _sides(options: argparse.Namespace, directory: Path) -> Iterator[dict[SideName, Side]]:
    """Prepare both sides, which exist until the context ends."""
    base, here = directory / "base-environment", directory / "here-environment"
    if options.tls:
        yield {"base": Side(REPOSITORY, base), "here": Side(REPOSITORY, here, "--tls")}
        return
    with worktree(options.base, directory / "base") as root:
        yield {"base": Side(root, base), "here": Side(REPOSITORY, here)}


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def markdown(comparison: Comparison, runs: Runs) -> Iterator[str]:
    """The lines of the report."""
    yield f"Base {runs.commits['base']}, here {runs.commits['here']}; {_evidence(len(runs.pairs))}"
    yield ""
    yield (
        "| figure @ in flight | CPU-ms per request, base | here | CPU ratio | 90 % interval "
        "| statements per request | commits per request | RPCs per request |"
    )
    yield "|" + " --- |" * 8
    for row in comparison.rows:
        counts = " | ".join(_count(row.counts[count]) for count in COUNTS)
        yield (
            f"| {row.name} | {_number(row.base_cpu_ms)} | {_number(row.here_cpu_ms)} "
            f"| {_ratio(row.ratio)} | {counts} |"
        )
    yield f"| geometric mean | | | {_ratio(comparison.overall)} | | | |"
    yield ""
    yield (
        "Counts are medians, base → here; ≠ marks a change in the same direction in every pair "
        f"and of more than 1 % in the median; {_ABSENT} was not recorded. RPCs leave out what "
        "runners send at intervals (Heartbeat) and the List by which the harness polls; a stream "
        "counts once, when it ends."
    )


def _evidence(pairs: int) -> str:
    text = f"alternating pairs: {pairs}."
    if interval := median_interval(range(pairs)):
        text += (
            f" Intervals of the median ratio lie between the ratios of rank {interval.rank} and "
            f"{pairs + 1 - interval.rank}; they cover it with {100 * interval.coverage:.1f} %."
        )
    return text if pairs >= LEAST_PAIRS else f"{text} Fewer than {LEAST_PAIRS}: no evidence."


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return f"{_ABSENT} | {_ABSENT}"
    if ratio.interval is None:
        return f"{ratio.median:.3f} | {_ABSENT}"
    return f"{ratio.median:.3f} | {ratio.interval.low:.3f}–{ratio.interval.high:.3f}"


def _count(count: Count) -> str:
    mark = " ≠" if count.change else ""
    return f"{_number(count.base)} → {_number(count.here)}{mark}"


def _number(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.4g}"


def _write(out: Path, runs: Runs, comparison: Comparison, report: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "commits": runs.commits,
        "comparison": asdict(comparison),
        "pairs": [asdict(pair) for pair in runs.pairs],
    }
    (out / "comparison.json").write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    (out / "comparison.md").write_text(report)


if __name__ == "__main__":
    main()
