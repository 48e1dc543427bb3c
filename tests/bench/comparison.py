"""Joins the figures of two commits by name: ratios of CPU time, and counts per request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, exp, log
from statistics import median
from typing import Any, Literal

from tests.bench.rpcs import counts_per_request

LEAST_PAIRS = 8
"""Pairs below which an interval is not evidence."""

CONFIDENCE = 0.9
"""Least coverage of an interval."""

CHANGE = 0.01
"""Part of a count by which its median must change to be marked."""

COUNTS = ("statements", "commits", "rpcs")

SideName = Literal["base", "here"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one run; what the run did not record is None.

    Attributes:
        cpu_ms: CPU milliseconds per request, of all processes.
        statements: database statements per request.
        commits: committed transactions that wrote, per request.
        rpcs: gRPC calls per request.
    """

    cpu_ms: float | None = None
    statements: float | None = None
    commits: float | None = None
    rpcs: float | None = None


Run = Mapping[str, Figure]
"""The figures of one run, by name."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One run of each commit, one directly after the other."""

    base: Run
    here: Run


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of a median.

    Attributes:
        rank: it goes from the value of this rank to that of the same rank from above.
        coverage: probability that it contains the median.
    """

    low: float
    high: float
    rank: int
    coverage: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """CPU time here over that at the base.

    Attributes:
        median: the median of the pairs' ratios.
        interval: of the median; None if there are too few pairs for any.
        pairs: how many pairs have the figure on both sides.
    """

    median: float
    interval: Interval | None
    pairs: int


@dataclass(frozen=True, slots=True)
class Count:
    """A count per request on both sides.

    Attributes:
        base: the median of the runs; None if no run recorded it.
        here: likewise.
        change: the sign of the change, 0 if none can be established.
    """

    base: float | None
    here: float | None
    change: int


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, compared.

    Attributes:
        base_cpu_ms: the median over the runs, CPU milliseconds per request.
        here_cpu_ms: likewise.
        ratio: None if no pair has the figure on both sides.
        counts: by their names in COUNTS.
    """

    name: str
    base_cpu_ms: float | None
    here_cpu_ms: float | None
    ratio: Ratio | None
    counts: Mapping[str, Count]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures, and the geometric mean of the CPU ratios of those that every pair has."""

    rows: Sequence[Row]
    overall: Ratio | None


def order(pair: int) -> tuple[SideName, SideName]:
    """Return which side runs first in a pair, counted from 0, and which second."""
    return ("here", "base") if pair % 2 else ("base", "here")


def read_run(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures in the content of a bench.json, medians over the repetitions."""
    return {
        name: Figure(
            cpu_ms=_median(_cpu_ms(run) for run in runs),
            statements=_median(_per_request(run, run.get("statements")) for run in runs),
            commits=_median(_per_request(run, run.get("commits")) for run in runs),
            rpcs=_median(_per_request(run, _rpcs(run)) for run in runs),
        )
        for name, runs in results.get("shapes", {}).items()
    }


def median_interval(values: Sequence[float]) -> Interval | None:
    """Return the narrowest interval of the median that covers it with at least 90 %.

    It lies between two order statistics and assumes nothing but independent values: of n values
    the k-th from below and the k-th from above enclose the median unless fewer than k values, of a
    binomial distribution with p = 1/2, lie on one side. Eight values give the second and the
    seventh, with a coverage of 1 - 2 * 9/256 = 92.97 %. Fewer than five values give None.
    """
    size = len(values)
    ordered = sorted(values)
    for rank in range((size + 1) // 2, 0, -1):
        outside = 2 * sum(comb(size, below) for below in range(rank)) / 2**size
        if 1 - outside >= CONFIDENCE:
            return Interval(ordered[rank - 1], ordered[-rank], rank, 1 - outside)
    return None


def compare(pairs: Sequence[Pair]) -> Comparison:
    """Join the figures of all pairs by name, in the order in which they first occur."""
    names = dict.fromkeys(name for pair in pairs for run in (pair.here, pair.base) for name in run)
    per_pair = {name: [_cpu_ratio(pair, name) for pair in pairs] for name in names}
    complete = [
        [ratio for ratio in ratios if ratio is not None]
        for ratios in per_pair.values()
        if None not in ratios
    ]
    means = [
        exp(sum(log(ratio) for ratio in ratios) / len(ratios))
        for ratios in zip(*complete, strict=True)
    ]
    rows = [
        Row(
            name=name,
            base_cpu_ms=_median(_get(pair.base, name, "cpu_ms") for pair in pairs),
            here_cpu_ms=_median(_get(pair.here, name, "cpu_ms") for pair in pairs),
            ratio=_ratio(per_pair[name]),
            counts={count: _count(pairs, name, count) for count in COUNTS},
        )
        for name in names
    ]
    return Comparison(rows, _ratio(means))


def violations(comparison: Comparison, percent: float) -> list[str]:
    """Return what contradicts "not worse by more than so many percent", as sentences.

    Statements, commits and RPCs per request must not rise at all, and no interval of a CPU ratio,
    over at least eight pairs, may lie above 1 + percent / 100. A figure that a side does not
    record cannot be judged, which is a violation too. Counts that fall are allowed.
    """
    limit = 1 + percent / 100
    found = []
    ratios = [(row.name, row.ratio) for row in comparison.rows]
    for name, ratio in [*ratios, ("geometric mean", comparison.overall)]:
        if ratio is None or ratio.interval is None or ratio.pairs < LEAST_PAIRS:
            found.append(f"{name}: fewer than {LEAST_PAIRS} pairs have a CPU ratio")
        elif ratio.interval.low > limit:
            found.append(f"{name}: the interval of the CPU ratio lies above {limit:.3g}")
    for row in comparison.rows:
        for kind, count in row.counts.items():
            if count.base is None or count.here is None:
                found.append(f"{row.name}: {kind} per request are not recorded on both sides")
            elif count.change > 0:
                found.append(f"{row.name}: {kind} per request rose")
    return found


def _cpu_ms(run: Mapping[str, Any]) -> float | None:
    per_process = run.get("cpu_ms")
    return sum(per_process.values()) if per_process else None


def _rpcs(run: Mapping[str, Any]) -> int | None:
    calls: Mapping[str, int] | None = run.get("rpcs")
    if not calls:
        return None
    return sum(count for method, count in calls.items() if counts_per_request(method))


def _per_request(run: Mapping[str, Any], count: float | None) -> float | None:
    requests = run.get("requests")
    return count / requests if requests and count is not None else None


def _get(run: Run, name: str, figure: str) -> float | None:
    value: float | None = getattr(run.get(name, Figure()), figure)
    return value


def _median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return median(found) if found else None


def _both(pair: Pair, name: str, figure: str) -> tuple[float, float] | None:
    base, here = _get(pair.base, name, figure), _get(pair.here, name, figure)
    return None if base is None or here is None else (base, here)


def _cpu_ratio(pair: Pair, name: str) -> float | None:
    both = _both(pair, name, "cpu_ms")
    return both[1] / both[0] if both and min(both) > 0 else None


def _ratio(values: Iterable[float | None]) -> Ratio | None:
    found = [value for value in values if value is not None]
    return Ratio(median(found), median_interval(found), len(found)) if found else None


def _count(pairs: Sequence[Pair], name: str, count: str) -> Count:
    base = _median(_get(pair.base, name, count) for pair in pairs)
    here = _median(_get(pair.here, name, count) for pair in pairs)
    both = [_both(pair, name, count) for pair in pairs]
    change = _change([values for values in both if values], base, here)
    return Count(base, here, change)


def _change(both: Sequence[tuple[float, float]], base: float | None, here: float | None) -> int:
    """Return the sign of a change that all pairs have and whose median is larger than CHANGE.

    Counts vary from run to run where requests share a statement or a call. All of eight pairs
    agree by chance in one of 128 figures; fewer pairs establish nothing.
    """
    if len(both) < LEAST_PAIRS or base is None or here is None:
        return 0
    if abs(here - base) <= CHANGE * base:
        return 0
    if all(after > before for before, after in both):
        return 1
    return -1 if all(after < before for before, after in both) else 0
