"""All that one run has measured, and medians over its repetitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from tests.bench.aged_journal import AgedJournal
from tests.bench.limits import Limits
from tests.bench.load import Figures, Quantiles
from tests.bench.reads import Rate, ReadRates
from tests.bench.stretches import Idle, Large, Sleepers
from tests.bench.tokens import TokenCosts


@dataclass(slots=True)
class Results:
    """What has been measured so far; what was left out is None or empty.

    Attributes:
        shapes: repetitions by name and requests in flight.
        start_seconds: from the start of all services to their readiness.
        grpc_create: milliseconds of Create by gRPC.
        spinc_ms: milliseconds from exec to exit of a bare spinc.
        dev_seconds: from exec of `spincycle dev` to its first answer.
    """

    commit: str = ""
    hardware: str = ""
    started_at: str = ""
    quick: bool = False
    start_seconds: float | None = None
    limits: list[Limits] = field(default_factory=list)
    shapes: dict[str, list[Figures]] = field(default_factory=dict)
    reads: list[ReadRates] = field(default_factory=list)
    grpc_create: Quantiles | None = None
    idle: Idle | None = None
    spinc_ms: float | None = None
    dev_seconds: float | None = None
    journal: AgedJournal | None = None
    large: list[Large] = field(default_factory=list)
    sleepers: Sleepers | None = None
    tokens: list[TokenCosts] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, figures: Figures) -> None:
        """Keep a repetition."""
        self.shapes.setdefault(key(figures.shape, figures.in_flight), []).append(figures)

    def of(
        self, shape: str, in_flight: int, figure: Callable[[Figures], float]
    ) -> tuple[float, float, float] | None:
        """Median, least and most of a figure of a shape."""
        runs = self.shapes.get(key(shape, in_flight))
        if not runs:
            return None
        values = [figure(run) for run in runs]
        return median(values), min(values), max(values)

    def limit(self, figure: Callable[[Limits], float]) -> float:
        """Median of one of the machine's limits."""
        return median(figure(one) for one in self.limits)

    def read(self, which: Callable[[ReadRates], Rate]) -> Rate:
        """The repetition of a read that has the median ratio to the echo."""
        found = sorted((which(one) for one in self.reads), key=lambda rate: rate.ratio)
        return found[len(found) // 2]


def key(shape: str, in_flight: int) -> str:
    """Under which repetitions are kept."""
    return f"{shape} @ {in_flight}"
