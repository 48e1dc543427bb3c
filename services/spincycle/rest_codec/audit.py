"""The table of audit entries."""

from __future__ import annotations

from spincycle.rest_codec.codecs import FLAG, TEXT, TIME, UINT64
from spincycle.rest_codec.tables import Field, ListOf, MessageCodec
from spincycle.v1 import audit_service_pb2

AUDIT_ENTRY = MessageCodec(
    "proto.AuditEntry",
    audit_service_pb2.AuditEntry,
    [
        Field("id", "id", UINT64, doc="number of the entry"),
        Field("occurredAt", "occurred_at", TIME),
        Field("caller", "caller", TEXT, doc="empty for steps of the installation"),
        Field("authenticator", "authenticator", TEXT, doc="what accepted the caller"),
        Field("roles", "roles", ListOf(TEXT)),
        Field("peer", "peer", TEXT, doc="address of the caller"),
        Field("operation", "operation", TEXT),
        Field("requestType", "request_type", TEXT),
        Field("requestId", "request_id", TEXT),
        Field("jobId", "job_id", TEXT, doc="job that was skipped"),
        Field("planHash", "plan_hash", TEXT, doc="plan that the caller expected"),
        Field("reason", "reason", TEXT, doc="reason of the caller, or why it was denied"),
        Field("allowed", "allowed", FLAG),
        Field("rule", "rule", TEXT, doc="rule that decided"),
        Field("callId", "call_id", TEXT, doc="id of the call, as X-Request-Id"),
        Field("onBehalfOf", "on_behalf_of", TEXT, doc="user for whom the caller acted"),
    ],
)
