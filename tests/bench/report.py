"""A run as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from statistics import median

from tests.bench.aged_journal import AgedJournal
from tests.bench.bare_batch import BareBatch
from tests.bench.budget import budget
from tests.bench.limits import Limits
from tests.bench.load import Figures
from tests.bench.results import Results


def markdown(results: Results) -> str:
    """The whole report."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    yield f"Commit {results.commit}, {results.started_at}, {results.hardware}."
    yield ""
    yield from _table(
        ("what", "must", "aim", "measured", "verdict"),
        ([one.what, one.must, one.aim, one.measured, one.verdict] for one in budget(results)),
    )
    if results.limits:
        yield from _limits(results)
    yield from _shapes(results)
    yield from _processes(results)
    yield from _database(results)
    if results.journal:
        yield from _journal(results.journal)
    for problem in results.problems:
        yield ""
        yield f"Problem: {problem}"


def _limits(results: Results) -> Iterator[str]:
    yield ""
    yield from _table(
        ("limit of the machine", "figure"),
        (
            [
                "gateway to gRPC echo, 16 connections",
                f"{results.limit(lambda o: o.echo_rate):.0f}/s",
            ],
            ["INSERT and commit, one connection", f"{results.limit(lambda o: o.commits):.0f}/s"],
            [
                "unnest of 200 rows and commit",
                f"{results.limit(lambda o: o.batch_rows):.0f} rows/s",
            ],
            ["a loop of Python, one CPU", f"{results.limit(lambda o: o.python_ms):.1f} ms"],
            [
                "20 ms after the last one: a gRPC call that does nothing",
                f"{results.limit(lambda o: o.paused_call_ms):.2f} ms",
            ],
            [
                "20 ms after the last ones: INSERT and commit",
                f"{results.limit(lambda o: o.paused_commit_ms):.2f} ms",
            ],
            ["one row over a gRPC stream, stored, acknowledged", _batch(results, lambda o: o.step)],
            ["eight rows, likewise", _batch(results, lambda o: o.batch)],
        ),
    )


def _batch(results: Results, which: Callable[[Limits], BareBatch]) -> str:
    wall = results.limit(lambda one: which(one).ms)
    cpu = results.limit(lambda one: which(one).cpu_ms)
    return f"{wall:.2f} ms, {cpu:.2f} ms of CPU"


def _shapes(results: Results) -> Iterator[str]:
    yield ""
    yield from _table(
        (
            "shape",
            "in flight",
            "requests/s",
            "jobs/s",
            "create p50/p95/p99 ms",
            "end to end p50/p95/p99 ms",
            "CPU-ms a request",
            "CPU-ms a job",
            "CPU-ms of a bare batch then",
        ),
        (
            [
                runs[0].shape,
                str(runs[0].in_flight),
                _median(one.requests / one.seconds for one in runs),
                _median(one.jobs / one.seconds for one in runs),
                " / ".join(_median(map(get, runs)) for get in _quantiles("create")),
                " / ".join(_median(map(get, runs)) for get in _quantiles("end_to_end")),
                _median(one.cpu_ms_a_request for one in runs),
                _median(one.cpu_ms_a_job for one in runs),
                _median(one.bare_batch_cpu_ms for one in runs),
            ]
            for runs in results.shapes.values()
        ),
    )


def _quantiles(of: str) -> list[Callable[[Figures], float]]:
    return [attrgetter(f"{of}.{name}") for name in ("p50", "p95", "p99")]


def _processes(results: Results) -> Iterator[str]:
    names = list(dict.fromkeys(n for runs in results.shapes.values() for n in runs[0].cpu_ms))
    yield ""
    yield from _table(
        ("CPU-ms a request (peak MB)", "in flight", *names),
        (
            [
                runs[0].shape,
                str(runs[0].in_flight),
                *(
                    f"{_median(one.cpu_ms[name] for one in runs)} "
                    f"({_median(one.peak_mb[name] for one in runs)})"
                    for name in names
                ),
            ]
            for runs in results.shapes.values()
        ),
    )


def _database(results: Results) -> Iterator[str]:
    yield ""
    yield from _table(
        (
            "database",
            "in flight",
            "statements a request",
            "commits a request",
            "statements a job",
            "entries an append",
            "requests a finish",
        ),
        (
            [
                runs[0].shape,
                str(runs[0].in_flight),
                _median(one.statements / one.requests for one in runs),
                _median(one.commits / one.requests for one in runs),
                _median(one.statements / one.jobs for one in runs),
                _median(one.jobs / max(1, one.calls.get("append", 0)) for one in runs),
                _median(one.requests / max(1, one.calls.get("finish_requests", 0)) for one in runs),
            ]
            for runs in results.shapes.values()
        ),
    )


def _journal(journal: AgedJournal) -> Iterator[str]:
    yield ""
    yield from _table(
        ("journal", "empty", f"with {journal.entries:,} entries, {journal.gigabytes:.1f} GB"),
        [
            [
                "log of a 100-job request",
                *(f"{rate.per_second:.0f}/s, {rate.ratio:.2f} × echo" for rate in journal.logs),
            ],
            [
                "chain of 100, 8 in flight",
                *(
                    f"{one.cpu_ms_a_job:.3f} CPU-ms a job, {one.jobs / one.seconds:.0f} jobs/s"
                    for one in journal.chains
                ),
            ],
        ],
    )


def _median(figures: Iterable[float]) -> str:
    return f"{median(figures):.3g}"


def _table(heads: Iterable[str], rows: Iterable[list[str]]) -> Iterator[str]:
    heads = list(heads)
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
