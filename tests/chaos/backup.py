"""Backups of schemas of a cluster's database, and their restore."""

from __future__ import annotations

import asyncio
import io
import subprocess
import time
from collections.abc import Sequence

from tests.chaos.cluster import Cluster
from tests.chaos.setback import Setback
from tests.chaos.witness import read_journal

from spincycle.dev.postgres_binaries import choose_account, find_binaries

_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = ANY ($1) AND c.relkind = 'r' AND c.relpersistence = 'p'
"""

HAVE_REBUILT = """
UPDATE request_manager.requests SET runner_id = 'restored' WHERE state IN (1, 2, 7)
"""
"""Of docs/how-to/operations.md, for rows that are older than the journal."""


class DumpedSchemas:
    """Dumped with pg_dump, and restored as docs/how-to/operations.md says."""

    def __init__(self, cluster: Cluster, schemas: Sequence[str]) -> None:
        self._cluster = cluster
        self._schemas = schemas
        self._dump = cluster.home / "spincycle.dump"
        self._dumped_at = 0.0

    async def fall_behind(self) -> None:
        """Back up."""
        self._dumped_at = time.time()
        schemas = [f"--schema={schema}" for schema in self._schemas]
        await self._run("pg_dump", "--format=custom", f"--file={self._dump}", *schemas)

    async def take_over(self) -> Setback:
        """End all services, restore, start them; return what was lost."""
        members = self._cluster.members
        assert set(await asyncio.gather(*(member.end() for member in members))) == {0}
        connection = await self._cluster.connect()
        entries = await read_journal(connection)
        await connection.close()
        await self._run("pg_restore", "--clean", "--if-exists", str(self._dump))
        if "job_log" not in self._schemas:
            connection = await self._cluster.connect()
            await connection.execute(HAVE_REBUILT)
            await connection.close()
        for member in members:
            member.start()
        await asyncio.gather(*(member.until_ready() for member in members))
        return Setback(self._dumped_at, entries)

    async def _run(self, program: str, *words: str) -> None:
        """Run one of PostgreSQL's programs on the database."""
        directory = find_binaries(choose_account(), self._cluster.home).directory
        command = [str(directory / program), f"--dbname={self._cluster.database.dsn()}", *words]
        ended = await asyncio.to_thread(
            subprocess.run, command, check=False, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr


class CopiedSchemas:
    """Copied, and restored in one transaction beneath services that run."""

    def __init__(self, cluster: Cluster, schemas: Sequence[str]) -> None:
        self._cluster = cluster
        self._schemas = schemas
        self._tables: dict[str, io.BytesIO] = {}
        self._copied_at = 0.0

    async def fall_behind(self) -> None:
        """Copy all rows, as of one moment."""
        self._copied_at = time.time()
        connection = await self._cluster.connect()
        async with connection.transaction(isolation="repeatable_read"):
            for (table,) in await connection.fetch(_TABLES, list(self._schemas)):
                rows = self._tables[table] = io.BytesIO()
                query = f"SELECT * FROM {table}"
                await connection.copy_from_query(query, output=rows, format="binary")
        await connection.close()

    async def take_over(self) -> Setback:
        """Put the copied rows in the place of those that there are; return what was lost."""
        connection = await self._cluster.connect()
        async with connection.transaction():
            # What was appended is read under the lock, so that none of it is missed.
            await connection.execute(f"LOCK TABLE job_log.entries, {', '.join(self._tables)}")
            entries = await read_journal(connection)
            await connection.execute(f"TRUNCATE {', '.join(self._tables)}")
            for table, rows in self._tables.items():
                schema, _, name = table.partition(".")
                rows.seek(0)
                await connection.copy_to_table(
                    name, schema_name=schema, source=rows, format="binary"
                )
        await connection.close()
        return Setback(self._copied_at, entries)
