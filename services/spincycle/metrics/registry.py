"""The figures of a process, read when somebody asks for them.

What does the work keeps plain counts; nothing of this package is on its way. They are given their
names here, and written down when a scrape comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from spincycle.batching.coalescer import Coalescer
from spincycle.runtime.version import VERSION

Counts = Mapping[tuple[str, ...], float]
"""A figure for each combination of label values."""


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """One figure.

    Attributes:
        name: its name in the format of Prometheus, without `_total`.
        text: what it tells.
        read: answers it as it is now.
        labels: names of its labels.
        grows: whether it only grows.
    """

    name: str
    text: str
    read: Callable[[], float | Counts]
    labels: tuple[str, ...]
    grows: bool


class Metrics:
    """The named figures of one process.

    Attributes:
        all: each of them.
        asks: what must be asked for before they are read.
    """

    def __init__(self) -> None:
        self.all: list[MetricFamily] = []
        self.asks: list[Callable[[], Awaitable[None]]] = []
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
        self.all.append(MetricFamily(name, text, read, labels, grows=False))

    def counter(
        self,
        name: str,
        text: str,
        read: Callable[[], float | Counts],
        labels: tuple[str, ...] = (),
    ) -> None:
        """A figure that only grows; its name gets `_total` at the end."""
        self.all.append(MetricFamily(name, text, read, labels, grows=True))

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

    def bytes_in_flight(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Bytes that the messages of calls in flight hold, by listener."""
        self.gauge(
            "spincycle_bytes_in_flight",
            "Bytes that the messages of calls in flight hold",
            lambda: {(listener,): float(held) for listener, held in read().items()},
            labels=("listener",),
        )

    def ask_first(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Have something asked for before each scrape; if that fails the figures are as before."""
        self.asks.append(ask)
