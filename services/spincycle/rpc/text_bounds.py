"""Bounds of the texts in requests: one table, by field.

A text that exceeds its bound is rejected, unless it comes from another service and rejecting it
would block a request: such texts are shortened by the receiving service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google.protobuf.descriptor import FieldDescriptor

from spincycle.rpc.limits import ID_BYTES, KEY_CHARACTERS, REASON_BYTES


@dataclass(frozen=True, slots=True)
class Bound:
    """Maximum size of the texts of one field.

    Attributes:
        limit: bytes of each text in UTF-8, or characters, according to `unit`.
        unit: "bytes" or "characters", as shown in the error.
        items: maximum number of texts or messages in a repeated field, or of entries in a map.
    """

    limit: int
    unit: str = "bytes"
    items: int | None = None


BOUNDED_ELSEWHERE: Final = frozenset(
    {
        "google.protobuf.Struct",
        "google.protobuf.Value",
        "spincycle.v1.JobChain",
        "spincycle.v1.JobLog",
        "spincycle.v1.JobOutput",
        "spincycle.v1.SpecFile",
    }
)
"""Messages whose texts are bounded elsewhere: values are counted when they are decoded, the texts
of a chain come from specs and are stored as bytes, the intake of the journal shortens those of an
entry, output is delivered and not stored, and lint bounds files."""

SHORTENED: Final = frozenset(
    {
        "spincycle.v1.FinishRequest.state_message",
        "spincycle.internal.v1.StopChainsRequest.reason",
        "spincycle.internal.v1.SuspendChainsRequest.reason",
    }
)
"""Texts of our own services, which the receiver shortens: a report or a stop rejected for a long
reason would be retried forever."""

SKIPPED: Final = frozenset(
    {
        "spincycle.v1.SuspendedJobChain.total_job_tries",
        "spincycle.v1.SuspendedJobChain.latest_run_job_tries",
        "spincycle.v1.SuspendedJobChain.sequence_tries",
        "spincycle.v1.SuspendedJobChain.sequence_started_at",
    }
)
"""Texts of a saved state, which is stored as bytes and may have one text per job, up to 200,000."""

MAX_BATCH = 10_000
"""Maximum items of a batch of another service, which sends at most 500. An empty item is two bytes
long and needs hundreds of bytes of memory, and time."""

_NAME = Bound(ID_BYTES)

_BATCH = Bound(0, items=MAX_BATCH)

BY_NAME: Final = {
    "request_id": _NAME,
    "job_id": _NAME,
    "after_job_id": _NAME,
    "runner_id": _NAME,
    "key_id": _NAME,
    "type": _NAME,
    "user": _NAME,
    "caller": _NAME,
    "operation": _NAME,
    "request_type": _NAME,
    "expected_plan_hash": _NAME,
    "order_by": _NAME,
    "address": _NAME,
    "version": _NAME,
    "job_types": Bound(ID_BYTES, items=10_000),
    "features": Bound(ID_BYTES, items=1_000),
    "idempotency_key": Bound(KEY_CHARACTERS, "characters"),
    "reason": Bound(REASON_BYTES),
    "page_token": Bound(4 * 1024),
    "cursor": Bound(1024 * 1024),
}
"""Bounds of fields with these names, in any message."""

BY_FIELD: Final = {
    "spincycle.v1.RequestFilter.states": Bound(0, items=100),
    "spincycle.v1.RequestFilter.args": Bound(ID_BYTES, items=100),
    "spincycle.v1.RequestFilter.ArgsEntry.value": Bound(64 * 1024),
    "spincycle.v1.RerunRequest.job_ids": Bound(ID_BYTES, items=200_000),
    "spincycle.v1.SkipRequest.job_ids": Bound(ID_BYTES, items=1_000),
    "spincycle.v1.ExplainRequest.job_ids": Bound(ID_BYTES, items=1_000),
    "spincycle.v1.ExplainRequest.reasons": Bound(0, items=100),
    "spincycle.internal.v1.ExplainChainRequest.job_ids": Bound(ID_BYTES, items=1_000),
    "spincycle.internal.v1.ExplainChainRequest.reasons": Bound(0, items=100),
    "spincycle.v1.WatchRequest.request_ids": Bound(ID_BYTES, items=1_000),
    "spincycle.v1.AuditFilter.operations": Bound(ID_BYTES, items=100),
    "spincycle.internal.v1.AuthorizeReadRequest.request_ids": Bound(ID_BYTES, items=1_000),
    "spincycle.internal.v1.Caller.name": _NAME,
    "spincycle.internal.v1.Caller.roles": Bound(ID_BYTES, items=1_000),
    "spincycle.internal.v1.Caller.authenticator": _NAME,
    "spincycle.internal.v1.Caller.peer": _NAME,
    "spincycle.internal.v1.AppendRequest.entries": _BATCH,
    "spincycle.internal.v1.AppendRequest.grants": _BATCH,
    "spincycle.internal.v1.FenceRequest.fences": _BATCH,
    "spincycle.internal.v1.ReportRequest.reports": _BATCH,
    "spincycle.internal.v1.ListRunningRequest.request_ids": Bound(ID_BYTES, items=200_000),
    "spincycle.internal.v1.StopChainsRequest.request_ids": _NAME,
    "spincycle.internal.v1.SuspendChainsRequest.request_ids": _NAME,
    "spincycle.internal.v1.WatchJobsRequest.request_ids": _NAME,
}
"""Bounds of single fields; for a map, of its keys and the number of its entries."""


def bound_of(field: FieldDescriptor) -> Bound | None:
    """Return the bound of a field, or None if it has none."""
    return BY_FIELD.get(field.full_name) or BY_NAME.get(field.name)
