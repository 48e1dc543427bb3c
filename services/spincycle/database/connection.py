"""Connections of their own, outside the pool."""

from __future__ import annotations

import asyncpg

from spincycle.runtime.config import ConfigError

CONNECT_TIMEOUT = 5.0
"""Seconds that the server has to accept a connection."""


async def connect(dsn: str, application: str) -> asyncpg.Connection:
    """Open a connection, named `application` in the server's list of sessions.

    Raises:
        ConfigError: the address is not valid.
        OSError, asyncpg.PostgresError: the server cannot be reached or refuses.
    """
    try:
        return await asyncpg.connect(
            dsn, timeout=CONNECT_TIMEOUT, server_settings={"application_name": application}
        )
    except ValueError as error:
        raise ConfigError(f"database.dsn: {error}")
