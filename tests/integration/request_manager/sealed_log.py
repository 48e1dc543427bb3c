"""An audit log with seals, in a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from spincycle.database.database import Database
from spincycle.database.migrations import load_migrations, migrate
from spincycle.database.queries import load_queries
from spincycle.identity.signing_keys import SigningKey, VerifyingKey, create_signing_key
from spincycle.request_manager.audit.sealer import Sealer
from spincycle.request_manager.audit.verification import Verification, Verifier
from spincycle.request_manager.storage.seal_store import SealStore
from spincycle.runtime.config import DatabaseConfig, Secret

PACKAGE = "spincycle.request_manager"


class SealedLog:
    """Inserts entries as services do, changes them as an attacker does, and verifies."""

    def __init__(self, database: Database, connection: asyncpg.Connection, keys: Path) -> None:
        self.database = database
        self.connection = connection
        self.keys = keys
        self.clock = 0.0
        self.store = SealStore(database)
        self.sealer = self.another_sealer()

    def another_sealer(self, *, signs: bool = True) -> Sealer:
        """Return a sealer like that of another request manager."""
        key = SigningKey(self.keys / "audit.key") if signs else None
        return Sealer(SealStore(self.database), key, 0.01, lambda: self.clock)

    async def add(self, *request_ids: str) -> None:
        """Insert an entry per request."""
        for request_id in request_ids:
            await self.connection.execute(
                "INSERT INTO request_manager.audit (user_name, authenticator, roles, peer, action,"
                " request_id, request_type, job_id, plan_hash, reason, rule, call_id, on_behalf_of)"
                " VALUES ('ann', 'oidc', '{ops,dev}', 'ipv4:10.0.0.1:5', 'start', $1, 'nap', 'j',"
                " 'p', 'because', 'acl', 'c1', 'bob')",
                request_id,
            )

    async def sealed(self, *request_ids: str) -> None:
        """Insert entries, and seal them one by one."""
        for request_id in request_ids:
            await self.add(request_id)
            await self.sealer.seal()

    async def verify(self, *heads: bytes) -> Verification:
        """Verify with the public key."""
        return await Verifier(
            self.store, [VerifyingKey.read(self.keys / "audit.pub")], heads
        ).verify()

    async def problems(self) -> list[str]:
        """Return the problems that a verification finds."""
        return (await self.verify()).problems


@asynccontextmanager
async def open_log(dsn: str, directory: Path) -> AsyncIterator[SealedLog]:
    """Open an empty audit log, and a key for it."""
    await migrate(dsn, "request_manager", load_migrations(PACKAGE))
    create_signing_key(directory)
    database = await Database.open(
        DatabaseConfig(dsn=Secret(dsn)), load_queries(PACKAGE), "request-manager"
    )
    connection = await asyncpg.connect(dsn)
    try:
        yield SealedLog(database, connection, directory)
    finally:
        await connection.close()
        await database.close()
