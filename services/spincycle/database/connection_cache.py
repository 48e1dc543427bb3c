"""A cache of idle connections in front of a pool."""

from __future__ import annotations

from typing import Any

import asyncpg
import structlog


class ConnectionCache:
    """Reuses connections of a pool without releasing them to it between statements.

    The pool's release costs a check, a task and two timers. A healthy connection is cached instead.
    Any other connection is released to the pool, as is every connection while a caller waits for
    the pool.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._idle: list[Any] = []
        self._pool_waiters = 0

    async def acquire(self, timeout: float) -> Any:
        """Return a connection within `timeout` seconds.

        Raises:
            TimeoutError: no connection became free.
            OSError, asyncpg.PostgresError: a connection could not be opened.
        """
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            await self._pool.release(connection)
        self._pool_waiters += 1
        try:
            return await self._pool.acquire(timeout=timeout)
        finally:
            self._pool_waiters -= 1

    async def release(self, connection: Any) -> None:
        """Release a connection whose last statement succeeded."""
        if self._pool_waiters or connection.is_closed() or connection.is_in_transaction():
            await self._pool.release(connection)
        else:
            self._idle.append(connection)

    async def release_failed(self, connection: Any) -> None:
        """Release a connection whose last statement failed or was cancelled.

        The pool closes a connection that cannot be reused. Its errors are only logged: they would
        replace the error or the cancellation of the statement.
        """
        try:
            await self._pool.release(connection)
        except Exception as error:  # noqa: BLE001 # the pool has closed the connection
            structlog.get_logger().debug("connection closed", cause=repr(error))

    async def replace(self) -> None:
        """Close the idle connections, so that new ones are opened."""
        await self._pool.expire_connections()
        while self._idle:
            await self._pool.release(self._idle.pop())

    async def close(self) -> None:
        """Close the pool, after all acquired connections are released."""
        while self._idle:
            await self._pool.release(self._idle.pop())
        # Bypass the cache for connections that are still acquired.
        self._pool_waiters += 1
        await self._pool.close()
