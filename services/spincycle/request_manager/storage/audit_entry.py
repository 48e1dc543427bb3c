"""Entries of the audit log as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from spincycle.request_manager.storage.actor import Actor


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A stored entry; spincycle.v1.AuditEntry documents the fields."""

    id: int
    occurred_at: datetime
    actor: Actor
    operation: str
    request_type: str
    request_id: str
    job_id: str
    plan_hash: str
    reason: str
    allowed: bool


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Criteria of entries to list; all that are set must match."""

    request_id: str = ""
    caller: str = ""
    operations: Sequence[str] = ()
    denied_only: bool = False
    since: datetime | None = None
    until: datetime | None = None


def entry_of(row: asyncpg.Record) -> AuditEntry:
    """Return the entry in a row of the table audit."""
    return AuditEntry(
        id=row["audit_id"],
        occurred_at=row["at"],
        actor=Actor(
            row["user_name"],
            row["authenticator"],
            tuple(row["roles"]),
            row["peer"],
            row["rule"],
            row["call_id"],
            row["on_behalf_of"],
        ),
        operation=row["action"],
        request_type=row["request_type"],
        request_id=row["request_id"],
        job_id=row["job_id"],
        plan_hash=row["plan_hash"],
        reason=row["reason"],
        allowed=row["allowed"],
    )
