"""What must hold and what is aimed at, each line with the figure that decides it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.bench.load import Figures
from tests.bench.results import Results

SERVICES = ("job-log", "request-manager", "job-runner", "gateway")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the budget table.

    Attributes:
        ok: whether what must hold does; None if it was not measured.
    """

    what: str
    must: str
    aim: str
    measured: str
    ok: bool | None
    aimed: bool | None = None

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.ok is None:
            return "not measured"
        if not self.ok:
            return "**missed**"
        return "aim met" if self.aimed else "must met"


def budget(results: Results) -> list[Line]:
    """All lines, in the order of the table."""
    return [
        *_closed_loops(results),
        *_large(results),
        *_single(results),
        *_reads(results),
        *_stretches(results),
        *_tokens(results),
    ]


def _most(
    what: str, unit: str, must: float, aim: float | None, value: float | None, spread: str = ""
) -> Line:
    target = "" if aim is None else f"≤ {aim:g} {unit}"
    if value is None:
        return Line(what, f"≤ {must:g} {unit}", target, "–", None)
    measured = f"{value:.3g} {unit}{spread}"
    return Line(
        what,
        f"≤ {must:g} {unit}",
        target,
        measured,
        value <= must,
        aim is not None and value <= aim,
    )


def _closed_loops(results: Results) -> Iterator[Line]:
    def line(
        shape: str,
        in_flight: int,
        figure: Callable[[Figures], float],
        what: str,
        unit: str,
        must: float,
        aim: float,
    ) -> Line:
        found = results.of(shape, in_flight, figure)
        spread = ""
        if found:
            bare = results.of(shape, in_flight, lambda one: one.bare_batch_cpu_ms)
            assert bare is not None
            spread = f" ({found[1]:.3g}–{found[2]:.3g}), a bare batch {bare[0]:.2f} ms"
        return _most(
            f"{shape}, {in_flight} in flight: {what}",
            unit,
            must,
            aim,
            found[0] if found else None,
            spread,
        )

    def request(one: Figures) -> float:
        return one.cpu_ms_a_request

    def job(one: Figures) -> float:
        return one.cpu_ms_a_job

    def p50(one: Figures) -> float:
        return one.end_to_end.p50

    yield line("one no-op", 64, request, "CPU a request", "ms", 3.2, 2.0)
    yield line("test, sleep 0", 64, request, "CPU a request", "ms", 4.5, 3.0)
    yield line("chain of 100", 8, job, "CPU a job", "ms", 0.20, 0.10)
    yield line("fan of 100", 8, job, "CPU a job", "ms", 0.15, 0.08)
    yield line("chain of 1000", 1, p50, "end to end", "ms", 800, 400)
    yield line("fan of 1000", 1, p50, "end to end", "ms", 500, 250)
    yield line("one no-op", 1, p50, "end to end p50", "ms", 6, 4)


def _large(results: Results) -> Iterator[Line]:
    must = "≤ 1.5 × ms a job of 1,000; below 150 MB (10,000) and 1.2 GB (100,000)"
    base = {
        one.shape.rpartition(" ")[0]: one.ms_a_job
        for one in results.large
        if one.shape.endswith(" 1000")
    }
    for one in results.large:
        if one.shape.endswith(" 1000"):
            continue
        if one.problem:
            yield Line(one.shape, must, "", one.problem[:120], ok=False)
            continue
        most = 1200.0 if one.shape.endswith(" 100000") else 150.0
        small = base.get(one.shape.rpartition(" ")[0])
        growth = one.ms_a_job / small if small else 0.0
        manager, runner = one.peak_mb["request-manager"], one.peak_mb["job-runner"]
        measured = (
            f"{one.seconds:.3g} s, {one.ms_a_job:.3g} ms a job, {growth:.2f} ×; request manager "
            f"{manager:.0f} MB, runner {runner:.0f} MB"
        )
        yield Line(one.shape, must, "", measured, growth <= 1.5 and max(manager, runner) < most)
    if not results.large:
        yield Line("requests of 10,000 and 100,000 jobs", must, "", "–", None)


def _single(results: Results) -> Iterator[Line]:
    create = results.grpc_create.p50 if results.grpc_create else None
    yield _most("one no-op by gRPC, 1 in flight: create p50", "ms", 3, 2, create)


def _reads(results: Results) -> Iterator[Line]:
    names = (
        "GET one request, 16 connections",
        "list limit=10 at 200,000 rows",
        "list by argument at 200,000 rows",
        "log of a 100-job request",
    )
    musts = ("≥ 0.6 × echo", "≥ 1,200/s", "≥ 800/s", "≥ 0.4 × echo")
    aims = ("≥ 4,200/s", "≥ 0.8 × echo", "≥ 0.8 × echo", "≥ 0.6 × echo")
    if not results.reads:
        for what, must, aim in zip(names, musts, aims, strict=True):
            yield Line(what, must, aim, "–", None)
        return
    found = (
        results.read(lambda one: one.one),
        results.read(lambda one: one.listed),
        results.read(lambda one: one.by_argument),
        results.read(lambda one: one.log),
    )
    for number, rate in enumerate(found):
        least = (0.6 * rate.echo, 1200.0, 800.0, 0.4 * rate.echo)[number]
        aimed = (4200.0, 0.8 * rate.echo, 0.8 * rate.echo, 0.6 * rate.echo)[number]
        yield Line(
            names[number],
            musts[number],
            aims[number],
            f"{rate.per_second:.0f}/s, {rate.ratio:.2f} × echo ({rate.echo:.0f}/s); CPU "
            f"{rate.cpu_ms:.2f} ms, of the echo {rate.echo_cpu_ms:.2f} ms",
            rate.per_second >= least,
            rate.per_second >= aimed,
        )


def _stretches(results: Results) -> Iterator[Line]:
    what = "10,000 sleeping requests on one runner"
    must = "< 12 kB a running job; beat on time; status/running limit=100 < 50 ms"
    if (sleepers := results.sleepers) is None:
        yield Line(what, must, "", "–", None)
    else:
        yield Line(
            what,
            must,
            "",
            f"{sleepers.running} running: {sleepers.kb_a_job:.1f} kB a job; beat at most "
            f"{sleepers.beat_age:.1f} s old; list {sleepers.list_ms:.0f} ms",
            sleepers.kb_a_job < 12 and sleepers.beat_age < 8 and sleepers.list_ms < 50,
        )
    what, must, aim = "idle stack", "< 1 % of one core, < 5 statements/s", "< 0.3 %"
    if (idle := results.idle) is None:
        yield Line(what, must, aim, "–", None)
    else:
        yield Line(
            what,
            must,
            aim,
            f"{100 * idle.cores:.2f} %, {idle.statements:.1f} statements/s",
            idle.cores < 0.01 and idle.statements < 5,
            idle.cores < 0.003,
        )
    most = max((idle.memory_mb[name] for name in SERVICES), default=0.0) if idle else None
    share = max((idle.share_mb[name] for name in SERVICES), default=0.0) if idle else 0.0
    yield _most(
        "memory of an idle service process, the largest",
        "MB",
        70,
        50,
        most,
        f" ({share:.0f} MB if shared pages count in part)",
    )
    yield _most("spinc listing, from exec to exit", "ms", 250, 150, results.spinc_ms)
    yield _most("spincycle dev to first answer, warm", "s", 2.5, 1.5, results.dev_seconds)


def _tokens(results: Results) -> Iterator[Line]:
    for one in results.tokens:
        yield _most(
            f"first verification of a token, {one.algorithm}",
            "ms",
            1,
            0.5,
            one.first_ms,
            f", the bare signature {one.bare_ms:.2f} ms",
        )
        yield _most(
            f"a call with a cached token, {one.algorithm}",
            "µs",
            25,
            10,
            one.cached_us,
            f", a bare digest and look-up {one.bare_us:.1f} µs",
        )
    if not results.tokens:
        yield Line("verification of a token", "≤ 1 ms, cached ≤ 25 µs", "", "–", None)
