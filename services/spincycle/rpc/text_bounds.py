"""Bounds of the texts in requests: one table, by field.

A text beyond its bound is refused, unless it comes from another service and refusing it would
leave a request stuck: those are shortened by the service that takes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google.protobuf.descriptor import FieldDescriptor

from spincycle.rpc.limits import ID_BYTES, KEY_CHARACTERS, REASON_BYTES


@dataclass(frozen=True, slots=True)
class Bound:
    """What the texts of one field may take.

    Attributes:
        most: bytes of each text as UTF-8, or characters if `unit` says so.
        unit: what is counted, as the caller is told.
        items: most texts in a repeated field, or entries in a map.
    """

    most: int
    unit: str = "bytes"
    items: int | None = None


ELSEWHERE: Final = frozenset(
    {
        "google.protobuf.Struct",
        "google.protobuf.Value",
        "spincycle.v1.JobChain",
        "spincycle.v1.JobLog",
        "spincycle.v1.JobOutput",
        "spincycle.v1.SpecFile",
    }
)
"""Messages whose texts have bounds of their own: values are counted where they are read, a
chain's texts come from specs and are kept as bytes, the intake of the journal shortens those of
an entry, output is delivered and not kept, and lint bounds files."""

SHORTENED: Final = frozenset(
    {
        "spincycle.v1.FinishRequest.state_message",
        "spincycle.internal.v1.StopChainsRequest.reason",
        "spincycle.internal.v1.SuspendChainsRequest.reason",
    }
)
"""Texts of our own services, which are shortened where they are read: a report or a stop that is
refused for a long reason would be sent again for ever."""

SKIPPED: Final = frozenset(
    {
        "spincycle.v1.SuspendedJobChain.total_job_tries",
        "spincycle.v1.SuspendedJobChain.latest_run_job_tries",
        "spincycle.v1.SuspendedJobChain.sequence_tries",
    }
)
"""Texts of a saved state, which is kept as bytes and may have one for each of 200,000 jobs."""

_NAME = Bound(ID_BYTES)

BY_NAME: Final = {
    "request_id": _NAME,
    "job_id": _NAME,
    "after_job_id": _NAME,
    "runner_id": _NAME,
    "type": _NAME,
    "user": _NAME,
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
"""Bounds of fields with these names, in whatever message."""

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
    "spincycle.internal.v1.StopChainsRequest.request_ids": _NAME,
    "spincycle.internal.v1.SuspendChainsRequest.request_ids": _NAME,
    "spincycle.internal.v1.WatchJobsRequest.request_ids": _NAME,
}
"""Bounds of single fields; for a map, those of its keys and of how many there are."""


def bound_of(field: FieldDescriptor) -> Bound | None:
    """The bound of a field, or None if it has none."""
    return BY_FIELD.get(field.full_name) or BY_NAME.get(field.name)
