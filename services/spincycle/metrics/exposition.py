"""Figures in the text format of Prometheus.

Imported where they are served: the library for it takes 2 MB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from spincycle.errors import SpinCycleError
from spincycle.metrics.registry import MetricFamily, Metrics

LAG_INTERVAL = 0.5
"""Seconds between two looks at how late the event loop is."""

ASK_TIMEOUT = 3.0
"""Seconds that a figure which must be asked for may take."""

LAG_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Exposition(Collector):
    """The figures of a process, those of the process itself, and how late its loop is.

    Attributes:
        content_type: type of the text.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, figures: Metrics) -> None:
        self._figures = figures
        self._registry = CollectorRegistry()
        self._lag = Histogram(
            "spincycle_event_loop_lag_seconds",
            "How much later than asked for the event loop woke a sleeper, sampled twice a second",
            buckets=LAG_BUCKETS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Read all figures; for the registry."""
        return [_family(figure) for figure in self._figures.all]

    async def text(self) -> bytes:
        """All figures in the text format."""
        for ask in self._figures.asks:
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


def _family(figure: MetricFamily) -> Metric:
    kind = CounterMetricFamily if figure.grows else GaugeMetricFamily
    family = kind(figure.name, figure.text, labels=figure.labels)
    read = figure.read()
    for labels, value in (read if isinstance(read, Mapping) else {(): read}).items():
        family.add_metric(labels, value)
    return family
