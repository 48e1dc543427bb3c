"""The figures of a process, collected when somebody asks for them.

What does the work keeps plain counts; nothing of this package is on its way. They are read, and
given their names, when a scrape comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from spincycle.coalescing import Coalescer
from spincycle.errors import SpinCycleError
from spincycle.version import VERSION

LAG_INTERVAL = 0.5
"""Seconds between two looks at how late the event loop is."""

ASK_TIMEOUT = 3.0
"""Seconds that a figure which must be asked for may take."""

LAG_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

Counts = Mapping[tuple[str, ...], float]
"""A figure for each combination of label values."""


class Figures(Collector):
    """The named figures of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._read: list[Callable[[], Metric]] = []
        self._ask: list[Callable[[], Awaitable[None]]] = []
        self._lag = Histogram(
            "spincycle_event_loop_lag_seconds",
            "How much later than asked for the event loop woke a sleeper, sampled twice a second",
            buckets=LAG_BUCKETS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(self)
        self.gauge(
            "spincycle_build", "1, with the version", lambda: {(VERSION,): 1.0}, labels=("version",)
        )

    def gauge(
        self,
        name: str,
        text: str,
        read: Callable[[], float | Counts],
        labels: tuple[str, ...] = (),
    ) -> None:
        """A figure that goes up and down, as `read` answers it."""
        self._read.append(
            lambda: _filled(GaugeMetricFamily(name, text, labels=labels), _counts(read()))
        )

    def counter(
        self,
        name: str,
        text: str,
        read: Callable[[], float | Counts],
        labels: tuple[str, ...] = (),
    ) -> None:
        """A figure that only grows; its name gets `_total` at the end."""
        self._read.append(
            lambda: _filled(CounterMetricFamily(name, text, labels=labels), _counts(read()))
        )

    def batches(self, coalescers: Mapping[str, Coalescer[object, object]]) -> None:
        """How many batches were written, and of how many items, for each kind of write."""
        self.counter(
            "spincycle_batches",
            "Batches written; items through batches is how many waited together",
            lambda: {(kind,): float(one.batches) for kind, one in coalescers.items()},
            labels=("write",),
        )
        self.counter(
            "spincycle_batch_items",
            "Items in the batches written",
            lambda: {(kind,): float(one.items) for kind, one in coalescers.items()},
            labels=("write",),
        )

    def calls(self, calls: Mapping[tuple[str, str], int]) -> None:
        """Calls that a server answered, by method and gRPC code."""
        self.counter(
            "spincycle_grpc_calls",
            "Calls that ended, by method and code",
            lambda: {key: float(count) for key, count in calls.items()},
            labels=("method", "code"),
        )

    def ask_first(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Have something asked for before each scrape; if that fails the figures are as before."""
        self._ask.append(ask)

    def collect(self) -> Iterable[Metric]:
        """Read all figures; for the registry."""
        return [read() for read in self._read]

    async def text(self) -> bytes:
        """All figures in the text format."""
        for ask in self._ask:
            try:
                async with asyncio.timeout(ASK_TIMEOUT):
                    await ask()
            except (SpinCycleError, TimeoutError) as error:
                structlog.get_logger().debug("cannot ask for a figure", cause=repr(error))
        return generate_latest(self._registry)

    async def measure_lag(self) -> None:
        """Sample how late the event loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            self._lag.observe(max(0.0, loop.time() - asked))


def _counts(read: float | Counts) -> Counts:
    return read if isinstance(read, Mapping) else {(): read}


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, counts: Counts
) -> CounterMetricFamily | GaugeMetricFamily:
    for labels, value in counts.items():
        family.add_metric(labels, value)
    return family
