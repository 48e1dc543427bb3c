"""The database account of services that may not change the audit log."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from spincycle.database.migrations import load_migrations, migrate

GRANTS = Path("docs/how-to/database-roles.sql").read_text(encoding="utf-8")

ROLE = "spincycle_service"


@asynccontextmanager
async def service_role(dsn: str) -> AsyncIterator[str]:
    """Migrate a database as its owner; yield its address for the account of the services."""
    owner = await asyncpg.connect(dsn)
    try:
        for schema in ("request_manager", "job_log"):
            await migrate(dsn, schema, load_migrations(f"spincycle.{schema}"))
        await owner.execute(
            f"DO $$ BEGIN CREATE ROLE {ROLE} LOGIN PASSWORD 'pw';"
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        await owner.execute(GRANTS)
        yield re.sub(r"//[^@/]*@", f"//{ROLE}:pw@", dsn)
    finally:
        await owner.execute(f"DROP OWNED BY {ROLE}")
        await owner.close()
