"""The rows of the database that an attack must not change."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

Rows = Mapping[str, list[str]]
"""Rows by table, each as JSON."""

IGNORED_TABLES = {"request_manager.audit", "request_manager.audit_seals", "job_log.followers"}
"""Refusals are audited and sealed; sessions of the job log come and go."""

HEARTBEAT = ["observer", "heartbeat", "chains", "jobs", "journal_lag", "loop_lag"]
"""Columns that heartbeats of honest runners change."""


async def read_rows(connection: asyncpg.Connection) -> Rows:
    """Read all rows of both schemas, but for what changes without a caller."""
    tables = await connection.fetch(
        "SELECT schemaname || '.' || tablename AS name FROM pg_tables"
        " WHERE schemaname IN ('request_manager', 'job_log') ORDER BY 1"
    )
    return {
        table["name"]: [
            row[0]
            for row in await connection.fetch(
                f"SELECT (to_jsonb(t) - $1::text[])::text FROM {table['name']} AS t ORDER BY 1",
                HEARTBEAT if table["name"] == "request_manager.runners" else [],
            )
        ]
        for table in tables
        if table["name"] not in IGNORED_TABLES
    }


def changes(before: Rows, after: Rows) -> list[str]:
    """Return the rows that came and went, as "table: + row" and "table: - row"."""
    return [
        f"{table}: {sign} {row}"
        for table in before
        for sign, rows, others in (
            ("-", before[table], after[table]),
            ("+", after[table], before[table]),
        )
        for row in rows
        if row not in others
    ]
