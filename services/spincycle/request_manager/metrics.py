"""Metrics of the request manager."""

from __future__ import annotations

from collections.abc import Mapping

from spincycle.metrics.registry import Metrics
from spincycle.request_manager.audit.sealer import Sealer
from spincycle.request_manager.refusal_audit import RefusalAudit
from spincycle.request_manager.runners.dispatcher import Dispatcher
from spincycle.request_manager.runners.recovery import Recovery
from spincycle.request_manager.storage.dispatch_store import DispatchStore
from spincycle.request_manager.storage.model import QueuedRequests
from spincycle.request_manager.storage.request_counts import RequestCounts
from spincycle.sealing.secret_sealer import SecretSealer


def register_metrics(
    metrics: Metrics,
    counts: RequestCounts,
    store: DispatchStore,
    dispatcher: Dispatcher,
    recovery: Recovery,
    sealer: SecretSealer,
) -> None:
    """Register the counters of the parts of a request manager, and the queue in the database."""
    queue = QueuedRequests(0, 0, 0.0)

    async def read_queue() -> None:
        nonlocal queue
        queue = await store.queue()

    metrics.refresh_with(read_queue)
    metrics.counter(
        "spincycle_requests_created",
        "Requests that this request manager stored",
        lambda: float(counts.created),
    )
    metrics.counter(
        "spincycle_requests_ended",
        "Requests whose end this request manager stored, by state",
        lambda: {(state.name,): float(count) for state, count in counts.ended.items()},
        labels=("state",),
    )
    metrics.gauge(
        "spincycle_requests_waiting",
        "Requests that wait for a runner, by state; without those that wait for a type limit",
        lambda: {("PENDING",): float(queue.pending), ("SUSPENDED",): float(queue.suspended)},
        labels=("state",),
    )
    metrics.gauge(
        "spincycle_queue_wait_seconds",
        "Age of the oldest new request that waits for a runner, the same on every copy",
        lambda: queue.oldest,
    )
    metrics.counter(
        "spincycle_dispatched_requests",
        "Requests sent to runners, by outcome",
        lambda: {(outcome,): float(count) for outcome, count in dispatcher.outcomes.items()},
        labels=("answer",),
    )
    metrics.counter(
        "spincycle_requests_recovered",
        "Requests of lost runners, and of runners that did not respond, that were rebuilt",
        lambda: float(recovery.recovered),
    )
    metrics.counter(
        "spincycle_sealed_data_unreadable",
        "Sealed chains, saved states and hashes of calls that could not be opened",
        lambda: float(sealer.unreadable),
    )
    metrics.counter(
        "spincycle_runners_given_up",
        "Silent runners that this request manager evicted",
        lambda: float(recovery.evicted),
    )


def register_denials(metrics: Metrics, denials: Mapping[tuple[str, str], int]) -> None:
    """Register the counter of denied operations, by operation and rule."""
    metrics.counter(
        "spincycle_denied_operations",
        "Operations of callers that were denied, by operation and the rule that decided",
        lambda: {key: float(count) for key, count in denials.items()},
        labels=("operation", "rule"),
    )


def register_audit(metrics: Metrics, sealer: Sealer, refusals: RefusalAudit) -> None:
    """Register the seals of the audit log, and the refusals that it lacks."""
    metrics.counter(
        "spincycle_audit_entries_sealed",
        "Entries of the audit log that this request manager sealed",
        lambda: float(sealer.sealed),
    )
    metrics.gauge(
        "spincycle_audit_seals_removed",
        "1 if seals of the audit log were removed that this request manager has seen",
        lambda: float(sealer.are_removed),
    )
    metrics.counter(
        "spincycle_audit_refusals_left_out",
        "Refused calls and denied operations that were neither stored nor counted in an entry",
        lambda: float(refusals.left_out),
    )
