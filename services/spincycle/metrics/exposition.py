"""Renders metrics in the Prometheus text format.

Imported only by processes that serve metrics, since the library takes 2 MB.
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
"""Seconds between two samples of the event loop's lag."""

REFRESH_TIMEOUT = 3.0
"""Seconds that refreshing a metric before a scrape may take."""

LAG_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Exposition(Collector):
    """Renders the metrics of a service, of its process, and the lag of its event loop.

    Attributes:
        content_type: media type of the text.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._registry = CollectorRegistry()
        self._lag = Histogram(
            "spincycle_event_loop_lag_seconds",
            "Delay with which the event loop woke a sleeping task, sampled twice per second",
            buckets=LAG_BUCKETS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Return the current values of all metrics; called by the registry."""
        return [_render(family) for family in self._metrics.families]

    async def text(self) -> bytes:
        """Refresh and return all metrics in the text format."""
        for refresh in self._metrics.refreshers:
            try:
                async with asyncio.timeout(REFRESH_TIMEOUT):
                    await refresh()
            except (SpinCycleError, TimeoutError) as error:
                structlog.get_logger().debug("metrics not refreshed", cause=repr(error))
        return generate_latest(self._registry)

    async def measure_lag(self) -> None:
        """Sample the lag of the event loop, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            self._lag.observe(max(0.0, loop.time() - due))


def _render(family: MetricFamily) -> Metric:
    metric_type = CounterMetricFamily if family.is_counter else GaugeMetricFamily
    metric = metric_type(family.name, family.description, labels=family.labels)
    values = family.read()
    for labels, value in (values if isinstance(values, Mapping) else {(): values}).items():
        metric.add_metric(labels, value)
    return metric
