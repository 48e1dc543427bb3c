"""The output of `audit`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spincycle.cli.render.table import Column, table
from spincycle.cli.render.times import clock, seconds

if TYPE_CHECKING:
    from spincycle.v1 import audit_service_pb2

AUDIT = (
    Column("TIME", 23),
    Column("CALLER", 16, squeezed=True, least=4),
    Column("OPERATION", 10, squeezed=True, least=6),
    Column("REQUEST", 20, squeezed=True, least=6),
    Column("ID", 20),
    Column("RESULT", 7),
    Column("REASON"),
)


def audit_lines(
    entries: Iterable[audit_service_pb2.AuditEntry], width: int | None = None
) -> list[str]:
    """Return the output of `spinc audit`."""
    rows = [
        [
            clock(seconds(entry, "occurred_at") or 0.0),
            _caller(entry),
            entry.operation,
            entry.request_type,
            entry.request_id,
            "allowed" if entry.allowed else "denied",
            entry.reason,
        ]
        for entry in entries
    ]
    return table(AUDIT, rows, width)


def _caller(entry: audit_service_pb2.AuditEntry) -> str:
    caller = entry.caller or ("(itself)" if entry.allowed else "(nobody)")
    return f"{caller} for {entry.on_behalf_of}" if entry.on_behalf_of else caller
