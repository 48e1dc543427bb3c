"""Renders metrics in the Prometheus text format.

Imported only by processes that serve metrics, since the library takes 2 MB.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from itertools import accumulate

import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from spincycle.errors import SpinCycleError
from spincycle.metrics.registry import HistogramFamily, MetricFamily, Metrics

REFRESH_TIMEOUT = 3.0
"""Seconds that refreshing a metric before a scrape may take."""


class Exposition(Collector):
    """Renders the metrics of a service and of its process.

    Attributes:
        content_type: media type of the text.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Return the current values of all metrics; called by the registry."""
        return [
            *(_render(family) for family in self._metrics.families),
            *(_render_histogram(family) for family in self._metrics.histograms),
        ]

    async def text(self) -> bytes:
        """Refresh and return all metrics in the text format."""
        for refresh in self._metrics.refreshers:
            try:
                async with asyncio.timeout(REFRESH_TIMEOUT):
                    await refresh()
            except (SpinCycleError, TimeoutError) as error:
                structlog.get_logger().debug("metrics not refreshed", cause=repr(error))
        return generate_latest(self._registry)


def _render(family: MetricFamily) -> Metric:
    metric_type = CounterMetricFamily if family.is_counter else GaugeMetricFamily
    metric = metric_type(family.name, family.description, labels=family.labels)
    values = family.read()
    for labels, value in (values if isinstance(values, Mapping) else {(): values}).items():
        metric.add_metric(labels, value)
    return metric


def _render_histogram(family: HistogramFamily) -> Metric:
    metric = HistogramMetricFamily(family.name, family.description, labels=family.labels)
    bounds = [*map(floatToGoString, family.buckets), "+Inf"]
    for labels, (counts, total) in family.read().items():
        buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
        metric.add_metric(labels, buckets, total)
    return metric
