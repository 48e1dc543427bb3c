"""The registry of a process's metrics, which are read at each scrape.

Components keep plain counts and do not depend on this package. The registry maps the counts to
metric names, and reads them only when they are scraped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from spincycle.batching.coalescer import Coalescer
from spincycle.runtime.lag_histogram import BUCKETS, LagHistogram
from spincycle.runtime.version import VERSION

Counts = Mapping[tuple[str, ...], float]
"""A value for each combination of label values."""


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """One metric with all its labels.

    Attributes:
        name: Prometheus name, without `_total`.
        description: help text.
        read: returns the current values.
        labels: names of the labels.
        is_counter: whether the metric is a counter; otherwise it is a gauge.
    """

    name: str
    description: str
    read: Callable[[], float | Counts]
    labels: tuple[str, ...]
    is_counter: bool


@dataclass(frozen=True, slots=True)
class HistogramFamily:
    """One histogram with all its labels.

    Attributes:
        name, description, labels: as of MetricFamily.
        buckets: upper bounds of the buckets, without the last one, which has none.
        read: returns the count of each bucket and the sum of the values, by label values.
    """

    name: str
    description: str
    buckets: tuple[float, ...]
    read: Callable[[], Mapping[tuple[str, ...], tuple[list[int], float]]]
    labels: tuple[str, ...]


class Metrics:
    """Registers the metrics of one process.

    Attributes:
        families: the registered gauges and counters.
        histograms: the registered histograms.
        refreshers: coroutine functions that run before each scrape.
    """

    def __init__(self) -> None:
        self.families: list[MetricFamily] = []
        self.histograms: list[HistogramFamily] = []
        self.refreshers: list[Callable[[], Awaitable[None]]] = []
        self.gauge(
            "spincycle_build", "1, with the version", lambda: {(VERSION,): 1.0}, labels=("version",)
        )

    def gauge(
        self,
        name: str,
        description: str,
        read: Callable[[], float | Counts],
        labels: tuple[str, ...] = (),
    ) -> None:
        """Register a gauge, whose current values `read` returns."""
        self.families.append(MetricFamily(name, description, read, labels, is_counter=False))

    def counter(
        self,
        name: str,
        description: str,
        read: Callable[[], float | Counts],
        labels: tuple[str, ...] = (),
    ) -> None:
        """Register a counter; the suffix `_total` is added to its name."""
        self.families.append(MetricFamily(name, description, read, labels, is_counter=True))

    def batches(self, coalescers: Mapping[str, Coalescer[object, object]]) -> None:
        """Register counters of the written batches and their items, by kind of write."""
        self.counter(
            "spincycle_batches",
            "Batches written; items divided by batches is the mean batch size",
            lambda: {(kind,): float(each.batches) for kind, each in coalescers.items()},
            labels=("write",),
        )
        self.counter(
            "spincycle_batch_items",
            "Items in the batches written",
            lambda: {(kind,): float(each.items) for kind, each in coalescers.items()},
            labels=("write",),
        )

    def calls(self, calls: Mapping[tuple[str, str], int]) -> None:
        """Register a counter of the calls of a server, by method and gRPC code."""
        self.counter(
            "spincycle_grpc_calls",
            "Calls that ended, by method and code",
            lambda: {key: float(count) for key, count in calls.items()},
            labels=("method", "code"),
        )

    def refusals(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Register a counter of the calls of services that were refused, by method and reason."""
        self.counter(
            "spincycle_refused_calls",
            "Calls of services that were refused for want of an identity or of a right",
            lambda: {key: float(count) for key, count in counts.items()},
            labels=("method", "reason"),
        )

    def authentications(self, outcomes: Mapping[tuple[str, str], int]) -> None:
        """Register a counter of the authenticated calls, by authenticator and outcome."""
        self.counter(
            "spincycle_authentications",
            "Authentications of callers; without authenticator, none recognised the credential",
            lambda: {key: float(count) for key, count in outcomes.items()},
            labels=("authenticator", "outcome"),
        )

    def bytes_in_flight(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Register a gauge of the bytes that the messages of calls in flight hold, by listener."""
        self.gauge(
            "spincycle_bytes_in_flight",
            "Bytes that the messages of calls in flight hold",
            lambda: {(listener,): float(held) for listener, held in read().items()},
            labels=("listener",),
        )

    def certificate_expiry(
        self, read: Callable[[], Mapping[str, float]], refresh: Callable[[], Awaitable[None]]
    ) -> None:
        """Register a gauge of the seconds until each certificate of the process expires."""
        self.gauge(
            "spincycle_certificate_expiry_seconds",
            "Seconds until the certificate expires; negative once it has",
            lambda: {(certificate,): seconds for certificate, seconds in read().items()},
            labels=("certificate",),
        )
        self.refresh_with(refresh)

    def histogram(
        self,
        name: str,
        description: str,
        buckets: tuple[float, ...],
        read: Callable[[], Mapping[tuple[str, ...], tuple[list[int], float]]],
        labels: tuple[str, ...] = (),
    ) -> None:
        """Register a histogram, whose counts by bucket and sums `read` returns."""
        self.histograms.append(HistogramFamily(name, description, buckets, read, labels))

    def event_loop_lag(self, lags: LagHistogram) -> None:
        """Register a histogram of the delays of the event loop, by type of the blocking job."""
        self.histogram(
            "spincycle_event_loop_lag_seconds",
            "Delay of the event loop's ticks, ten per second; with the type of the job that blocked"
            " it, if one did",
            BUCKETS,
            lags.read,
            labels=("job_type",),
        )

    def refresh_with(self, refresh: Callable[[], Awaitable[None]]) -> None:
        """Run `refresh` before each scrape; if it fails, metrics keep their previous values."""
        self.refreshers.append(refresh)
