"""Opens the databases of the services for admin commands."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import click

from spincycle.admin.failure import fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractAsyncContextManager

    from spincycle.database.database import Database
    from spincycle.runtime.config import DatabaseConfig


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print an error of the block as one line and exit.

    The exit code is 2 for an invalid configuration, 1 for a database error.
    """
    import asyncpg

    from spincycle.errors import DatabaseUnavailable
    from spincycle.runtime.config import ConfigError

    try:
        yield
    except (ConfigError, ValueError) as error:
        fail(str(error))
    except (DatabaseUnavailable, asyncpg.PostgresError) as error:
        click.echo(f"error: not finished, run the command again: {error}", err=True)
        sys.exit(1)


def request_manager_database(dsn: str | None) -> AbstractAsyncContextManager[Database]:
    """Open the request manager's database at `dsn`, or the configured one."""
    from spincycle.request_manager.config import RequestManagerConfig
    from spincycle.runtime.config import load_config

    config = load_config(RequestManagerConfig, None).database
    return _open(config, dsn, "spincycle.request_manager")


def job_log_database(dsn: str | None) -> AbstractAsyncContextManager[Database]:
    """Open the job log's database at `dsn`, or the configured one."""
    from spincycle.job_log.config import JobLogConfig
    from spincycle.runtime.config import load_config

    return _open(load_config(JobLogConfig, None).database, dsn, "spincycle.job_log")


@asynccontextmanager
async def _open(config: DatabaseConfig, dsn: str | None, package: str) -> AsyncIterator[Database]:
    from msgspec.structs import replace

    from spincycle.database.database import Database
    from spincycle.database.queries import load_queries
    from spincycle.runtime.config import Secret

    chosen = replace(config, dsn=Secret(dsn)) if dsn else config
    database = await Database.open(chosen, load_queries(package), "admin")
    try:
        yield database
    finally:
        await database.close()
