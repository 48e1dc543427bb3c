"""AuditService: wire types in, wire types out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from spincycle.access.caller import current_caller
from spincycle.errors import InvalidInput, InvalidPageToken
from spincycle.request_manager.requests.audit_log import AuditLog
from spincycle.request_manager.storage.audit_entry import AuditEntry, AuditFilter
from spincycle.rpc.limits import CLIENT_MESSAGE_BYTES
from spincycle.rpc.page_token import decode_page_token, encode_page_token
from spincycle.v1 import audit_service_pb2 as rpc
from spincycle.v1 import audit_service_pb2_grpc
from spincycle.wire.times import from_timestamp

DEFAULT_PAGE = 100
"""Entries in a page if the caller sets no page size."""

MAX_PAGE = 1000
"""Most entries in a page."""

MAX_OPERATIONS = 100
"""Most operations in a filter."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Context = grpc.aio.ServicerContext[Any, Any]


class AuditService(audit_service_pb2_grpc.AuditServiceServicer):
    """Serves AuditService of the contract."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    async def ListAudit(
        self, request: rpc.ListAuditRequest, context: Context
    ) -> rpc.ListAuditResponse:
        before = _position(request)
        page_size = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
        entries = await self._audit.find(
            current_caller(), _filter(request.filter), page_size + 1, before
        )
        response = rpc.ListAuditResponse()
        size = 0
        for entry in entries:
            if len(response.entries) == page_size or size > CLIENT_MESSAGE_BYTES:
                last = response.entries[-1]
                response.next_page_token = encode_page_token(
                    _list_key(request), (last.occurred_at.ToMicroseconds(), last.id)
                )
                break
            encoded = _encode(entry)
            size += encoded.ByteSize()
            response.entries.append(encoded)
        return response


def _position(request: rpc.ListAuditRequest) -> tuple[datetime, int] | None:
    """Return time and id of the last entry of the page before; None for the first page."""
    if not request.page_token:
        return None
    microseconds, id_ = decode_page_token(_list_key(request), request.page_token, int, int)
    try:
        return _EPOCH + timedelta(microseconds=int(microseconds)), int(id_)
    except OverflowError:
        raise InvalidPageToken


def _list_key(request: rpc.ListAuditRequest) -> list[str]:
    return ["audit", request.filter.SerializeToString(deterministic=True).hex()]


def _filter(message: rpc.AuditFilter) -> AuditFilter:
    if len(message.operations) > MAX_OPERATIONS:
        raise InvalidInput(f"a filter has at most {MAX_OPERATIONS} operations", "filter.operations")
    return AuditFilter(
        message.request_id,
        message.caller,
        list(message.operations),
        message.denied_only,
        _time(message.since, "since") if message.HasField("since") else None,
        _time(message.until, "until") if message.HasField("until") else None,
    )


def _time(message: Timestamp, field: str) -> datetime:
    try:
        return from_timestamp(message)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{field} is not a time from year 1 to 9999", f"filter.{field}")


def _encode(entry: AuditEntry) -> rpc.AuditEntry:
    actor = entry.actor
    message = rpc.AuditEntry(
        id=entry.id,
        caller=actor.name,
        authenticator=actor.authenticator,
        roles=actor.roles,
        peer=actor.peer,
        operation=entry.operation,
        request_type=entry.request_type,
        request_id=entry.request_id,
        job_id=entry.job_id,
        plan_hash=entry.plan_hash,
        reason=entry.reason,
        allowed=entry.allowed,
        rule=actor.rule,
        call_id=actor.call_id,
        on_behalf_of=actor.on_behalf_of,
    )
    message.occurred_at.FromDatetime(entry.occurred_at)
    return message
