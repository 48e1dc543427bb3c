"""spincycle migrate: bring the databases up to date before the services start."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

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
@click.option("--dsn", metavar="DSN", help="The database, instead of the configured one.")
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=0,
    help="How long to wait for a database that cannot be reached.",
)
def migrate(services: tuple[str, ...], dsn: str | None, wait: float) -> None:
    """Bring the database schemas of SERVICES, by default all, up to date.

    Each service does it for itself at start unless its key database.migrate is false. The
    database is that of the service's environment, SPINCYCLE_RM_DATABASE__DSN and
    SPINCYCLE_JL_DATABASE__DSN. Running it twice changes nothing the second time.
    """
    from spincycle.runtime.config import ConfigError

    try:
        for service in services or tuple(_CONFIGS):
            click.echo(f"{service}: {asyncio.run(_migrated(service, dsn, wait))}")
    except ConfigError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


async def _migrated(service: str, dsn: str | None, wait: float) -> str:
    from spincycle.database.migrations import load_migrations
    from spincycle.runtime.config import load_config

    module, _, name = _CONFIGS[service].partition(":")
    config = load_config(getattr(import_module(module), name), None)
    package = module.rpartition(".")[0]
    steps = await _applied(
        service,
        dsn or _database(config).dsn.reveal(),
        package.rpartition(".")[2],
        load_migrations(package),
        wait,
    )
    if not steps:
        return "up to date"
    return ", ".join(f"applied {step.version} ({step.name})" for step in steps)


async def _applied(
    service: str, dsn: str, schema: str, steps: list[Migration], wait: float
) -> list[Migration]:
    import asyncpg

    from spincycle.database.migrations import migrate
    from spincycle.database.outages import outage_of
    from spincycle.runtime.backoff import Backoff
    from spincycle.runtime.config import ConfigError

    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    told = False
    backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
    while True:
        try:
            return await migrate(dsn, schema, steps)
        except Exception as error:
            outage = outage_of(error)
            if outage is None and not isinstance(error, asyncpg.PostgresError):
                raise
            if outage is None or loop.time() >= until:
                raise ConfigError(f"cannot migrate the database of the {service}: {error}")
        if not told:
            click.echo(f"{service}: waiting for the database", err=True)
            told = True
        await backoff.wait()


def _database(config: Config) -> DatabaseConfig:
    database: DatabaseConfig = config.database  # type: ignore[attr-defined] # both models have it
    return database
