"""Applies schema migrations: numbered SQL files, each applied once, under an advisory lock."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files

import asyncpg
import structlog

from spincycle.database.connection import connect
from spincycle.database.database import Database
from spincycle.database.outages import outage_of
from spincycle.runtime.backoff import Backoff
from spincycle.runtime.config import ConfigError, DatabaseConfig

RETRY_INTERVAL = 1.0
"""Maximum seconds between two attempts to reach the server at startup."""

_FILE = re.compile(r"^(\d{4})_(\w+)\.sql$")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a schema.

    Attributes:
        version: number of the step, from 1.
        name: description, from the file's name.
        sql: the statements.
    """

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Hash that detects edits of an applied step."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(package: str) -> list[Migration]:
    """Return the steps in the `migrations` folder of a package, in order.

    Raises:
        ValueError: the numbers are not 1, 2, 3, ….
    """
    steps = [
        Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in files(package).joinpath("migrations").iterdir()
        if (match := _FILE.match(file.name))
    ]
    steps.sort(key=lambda step: step.version)
    if [step.version for step in steps] != list(range(1, len(steps) + 1)):
        raise ValueError(f"{package}: migrations are not numbered 1, 2, 3, …")
    return steps


async def migrate(dsn: str, schema: str, steps: list[Migration]) -> list[Migration]:
    """Apply the missing steps of a schema, and return them.

    Copies of a service that start together wait for one another. A schema newer than the steps is
    not changed, so that an old copy keeps working during a rolling upgrade.

    Raises:
        ConfigError: an applied step differs from the one in the file.
        OSError, asyncpg.PostgresError: the server is unreachable or rejects the connection.
    """
    connection = await connect(dsn, "spincycle-migrate")
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext($1))", f"spincycle.{schema}")
        return await _apply(connection, schema, steps)
    finally:
        await connection.close(timeout=5.0)


async def _apply(
    connection: asyncpg.Connection, schema: str, steps: list[Migration]
) -> list[Migration]:
    await connection.execute(
        f'CREATE SCHEMA IF NOT EXISTS "{schema}";'
        f'CREATE TABLE IF NOT EXISTS "{schema}".migrations ('
        "  version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
        "  applied_at timestamptz NOT NULL DEFAULT now())"
    )
    rows = await connection.fetch(f'SELECT version, checksum FROM "{schema}".migrations')  # noqa: S608 # a name from our code
    applied = {row["version"]: row["checksum"] for row in rows}
    missing = []
    for step in steps:
        if step.version in applied:
            if applied[step.version] != step.checksum:
                raise ConfigError(
                    f"migration {step.version} ({step.name}) of schema {schema} was edited after "
                    "it was applied; restore the file and put the change into a new migration"
                )
            continue
        async with connection.transaction():
            await connection.execute(step.sql)
            await connection.execute(
                f'INSERT INTO "{schema}".migrations (version, name, checksum) '  # noqa: S608 # a name from our code
                "VALUES ($1, $2, $3)",
                step.version,
                step.name,
                step.checksum,
            )
        missing.append(step)
    return missing


async def prepare_schema(
    database: Database, config: DatabaseConfig, schema: str, package: str
) -> None:
    """Wait until the schema has every step of this package, then mark it ready in `database`.

    If `config.migrate` is true, missing steps are applied; otherwise another process applies them.

    Raises:
        ConfigError: an applied step differs from the one in the file, or the address or the
            privileges are wrong.
    """
    steps = load_migrations(package)
    if config.migrate:
        await migrate_when_reachable(config, schema, steps)
    else:
        await _wait_for(config, schema, steps[-1].version)
    database.mark_schema_ready()


async def migrate_when_reachable(
    config: DatabaseConfig, schema: str, steps: list[Migration]
) -> None:
    """Apply the missing steps of a schema, retrying while the server is unreachable.

    Raises:
        ConfigError: as `migrate`, or the address or the privileges are wrong.
    """

    async def apply() -> bool:
        for step in await migrate(config.dsn.reveal(), schema, steps):
            structlog.get_logger().info(
                "migrated", schema=schema, version=step.version, name=step.name
            )
        return True

    await _retry_until(apply, schema)


async def _wait_for(config: DatabaseConfig, schema: str, version: int) -> None:
    logged: int | None = None

    async def is_applied() -> bool:
        nonlocal logged
        found = await applied_version(config.dsn.reveal(), schema)
        if found < version and found != logged:
            logged = found
            structlog.get_logger().warning(
                "waiting for migrations; run `spincycle migrate`",
                schema=schema,
                version=found,
                needed=version,
            )
        return found >= version

    await _retry_until(is_applied, schema)


async def applied_version(dsn: str, schema: str) -> int:
    """Return the version of the last applied step of a schema; 0 if there is no schema.

    Raises:
        OSError, asyncpg.PostgresError: the server is unreachable or rejects the connection.
    """
    connection = await connect(dsn, "spincycle-migrate")
    try:
        return int(
            await connection.fetchval(
                f'SELECT coalesce(max(version), 0) FROM "{schema}".migrations',  # noqa: S608 # a name from our code
                timeout=5.0,
            )
        )
    except asyncpg.UndefinedTableError:
        return 0
    finally:
        await connection.close(timeout=5.0)


async def _retry_until(done: Callable[[], Awaitable[bool]], schema: str) -> None:
    log = structlog.get_logger()
    logged: set[str] = set()
    backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
    while True:
        try:
            if await done():
                return
        except Exception as error:
            outage = outage_of(error)
            if outage is None and isinstance(error, asyncpg.PostgresError):
                raise ConfigError(f"schema {schema} cannot be brought up to date: {error}")
            if outage is None:
                raise
            if outage.name not in logged:
                log.warning(
                    "waiting for the database", cause=outage.name, error=str(error) or repr(error)
                )
            logged.add(outage.name)
        await backoff.wait()
