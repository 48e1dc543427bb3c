"""The figures of a request manager."""

from __future__ import annotations

from spincycle.metrics.registry import Metrics
from spincycle.request_manager.runners.dispatcher import Dispatcher
from spincycle.request_manager.runners.recovery import Recovery
from spincycle.request_manager.storage.dispatch_store import DispatchStore
from spincycle.request_manager.storage.model import QueuedRequests
from spincycle.request_manager.storage.request_counts import RequestCounts


def name_figures(
    figures: Metrics,
    counts: RequestCounts,
    store: DispatchStore,
    dispatcher: Dispatcher,
    recovery: Recovery,
) -> None:
    """Name what the parts of a request manager count, and what the database knows."""
    queue = QueuedRequests(0, 0, 0.0)

    async def ask() -> None:
        nonlocal queue
        queue = await store.queue()

    figures.refresh_with(ask)
    figures.counter(
        "spincycle_requests_created",
        "Requests that this request manager stored",
        lambda: float(counts.created),
    )
    figures.counter(
        "spincycle_requests_ended",
        "Requests whose end this request manager stored, by state",
        lambda: {(state.name,): float(count) for state, count in counts.ended.items()},
        labels=("state",),
    )
    figures.gauge(
        "spincycle_requests_waiting",
        "Requests that wait for a runner, by state, as the database knows; type limits aside",
        lambda: {("PENDING",): float(queue.pending), ("SUSPENDED",): float(queue.suspended)},
        labels=("state",),
    )
    figures.gauge(
        "spincycle_queue_wait_seconds",
        "Age of the oldest new request that waits for a runner, the same on every copy",
        lambda: queue.oldest,
    )
    figures.counter(
        "spincycle_dispatched_requests",
        "Requests sent to runners, by what came of it",
        lambda: {(answer,): float(count) for answer, count in dispatcher.answers.items()},
        labels=("answer",),
    )
    figures.counter(
        "spincycle_requests_recovered",
        "Requests taken from runners that were gone or did not answer, and rebuilt",
        lambda: float(recovery.recovered),
    )
    figures.counter(
        "spincycle_runners_given_up",
        "Runners that this request manager gave up after their silence",
        lambda: float(recovery.given_up),
    )
