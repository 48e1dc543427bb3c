"""The databases of the services, for commands that work on them."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractAsyncContextManager

    from spincycle.database.database import Database
    from spincycle.runtime.config import DatabaseConfig


@contextmanager
def failures_reported() -> Iterator[None]:
    """End the process with a line that says what failed, instead of a traceback.

    Its exit code is 2 for a wrong configuration, 1 for a database that failed on the way.
    """
    import asyncpg

    from spincycle.errors import DatabaseUnavailable
    from spincycle.runtime.config import ConfigError

    try:
        yield
    except (ConfigError, ValueError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except (DatabaseUnavailable, asyncpg.PostgresError) as error:
        click.echo(f"error: not finished, run it again: {error}", err=True)
        sys.exit(1)


def request_manager_database(dsn: str | None) -> AbstractAsyncContextManager[Database]:
    """The request manager's database: at `dsn`, or else the configured one."""
    from spincycle.request_manager.config import RequestManagerConfig
    from spincycle.runtime.config import load_config

    config = load_config(RequestManagerConfig, None).database
    return _opened(config, dsn, "spincycle.request_manager")


def job_log_database(dsn: str | None) -> AbstractAsyncContextManager[Database]:
    """The job log's database likewise."""
    from spincycle.job_log.config import JobLogConfig
    from spincycle.runtime.config import load_config

    return _opened(load_config(JobLogConfig, None).database, dsn, "spincycle.job_log")


@asynccontextmanager
async def _opened(config: DatabaseConfig, dsn: str | None, package: str) -> AsyncIterator[Database]:
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
