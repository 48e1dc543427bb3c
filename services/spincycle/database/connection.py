"""Connections outside the pool."""

from __future__ import annotations

import asyncpg

from spincycle.runtime.config import ConfigError

CONNECT_TIMEOUT = 5.0
"""Seconds that opening a connection may take."""


async def connect(dsn: str, application: str) -> asyncpg.Connection:
    """Open a connection, with `application` as the session's application_name.

    Raises:
        ConfigError: the address is not valid.
        OSError, asyncpg.PostgresError: the server is unreachable or rejects the connection.
    """
    try:
        return await asyncpg.connect(
            dsn, timeout=CONNECT_TIMEOUT, server_settings={"application_name": application}
        )
    except ValueError as error:
        raise ConfigError(f"database.dsn: {error}")
