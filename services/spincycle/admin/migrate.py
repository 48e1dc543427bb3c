"""The command `spincycle migrate`: migrates the schemas of the databases."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

import click

from spincycle.admin.failure import fail

if TYPE_CHECKING:
    from spincycle.database.migrations import Migration
    from spincycle.runtime.config import Config, DatabaseConfig

RETRY_INTERVAL = 1.0
"""Seconds between two attempts to reach a database."""

_CONFIGS = {
    "request-manager": "spincycle.request_manager.config:RequestManagerConfig",
    "job-log": "spincycle.job_log.config:JobLogConfig",
}


@click.command()
@click.argument("services", nargs=-1, type=click.Choice(list(_CONFIGS)))
@click.option("--dsn", metavar="DSN", help="Database to use instead of the configured one.")
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=0,
    help="Time to wait for an unreachable database.",
)
def migrate(services: tuple[str, ...], dsn: str | None, wait: float) -> None:
    """Migrate the database schemas of SERVICES, by default of all.

    Each service migrates its own schema at start unless its key database.migrate is false. The
    databases are those of SPINCYCLE_RM_DATABASE__DSN and SPINCYCLE_JL_DATABASE__DSN. Idempotent.
    """
    from spincycle.runtime.config import ConfigError

    try:
        for service in services or tuple(_CONFIGS):
            click.echo(f"{service}: {asyncio.run(_migrate_service(service, dsn, wait))}")
    except ConfigError as error:
        fail(str(error))


async def _migrate_service(service: str, dsn: str | None, wait: float) -> str:
    from spincycle.database.migrations import load_migrations
    from spincycle.runtime.config import load_config

    module, _, name = _CONFIGS[service].partition(":")
    config = load_config(getattr(import_module(module), name), None)
    package = module.rpartition(".")[0]
    steps = await _apply(
        service,
        dsn or _database(config).dsn.reveal(),
        package.rpartition(".")[2],
        load_migrations(package),
        wait,
    )
    if not steps:
        return "up to date"
    return ", ".join(f"applied {step.version} ({step.name})" for step in steps)


async def _apply(
    service: str, dsn: str, schema: str, steps: list[Migration], wait: float
) -> list[Migration]:
    import asyncpg

    from spincycle.database.migrations import migrate
    from spincycle.database.outages import outage_of
    from spincycle.runtime.backoff import Backoff
    from spincycle.runtime.config import ConfigError

    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    is_waiting = False
    backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
    while True:
        try:
            return await migrate(dsn, schema, steps)
        except Exception as error:
            outage = outage_of(error)
            if outage is None and not isinstance(error, asyncpg.PostgresError):
                raise
            if outage is None or loop.time() >= deadline:
                raise ConfigError(f"cannot migrate the database of the {service}: {error}")
        if not is_waiting:
            click.echo(f"{service}: waiting for the database", err=True)
            is_waiting = True
        await backoff.wait()


def _database(config: Config) -> DatabaseConfig:
    database: DatabaseConfig = config.database  # type: ignore[attr-defined] # both models have it
    return database
