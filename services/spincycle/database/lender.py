"""Connections of a pool, kept at hand between two statements."""

from __future__ import annotations

from typing import Any

import asyncpg
import structlog


class Lender:
    """Lends connections of a pool, and takes them back without asking it.

    The pool looks at a connection, and starts a task and two timers, each time it gets one back.
    What comes back in good order is lent again as it is; everything else, and everything while
    somebody waits in the pool's line, is up to the pool.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._spare: list[Any] = []
        self._in_line = 0

    async def take(self, timeout: float) -> Any:
        """A connection within `timeout` seconds.

        Raises:
            TimeoutError: none became free.
            Whatever a connection cannot be opened for.
        """
        while self._spare:
            connection = self._spare.pop()
            if not connection.is_closed():
                return connection
            await self._pool.release(connection)
        self._in_line += 1
        try:
            return await self._pool.acquire(timeout=timeout)
        finally:
            self._in_line -= 1

    async def give_back(self, connection: Any) -> None:
        """Take a connection back whose last statement has ended well."""
        if self._in_line or connection.is_closed() or connection.is_in_transaction():
            await self._pool.release(connection)
        else:
            self._spare.append(connection)

    async def mend(self, connection: Any) -> None:
        """Take a connection back whose last statement failed, or was cut off.

        A connection that cannot be used again is closed by the pool. What that raises is not
        raised: it would replace the failure, or the cancellation, of the statement.
        """
        try:
            await self._pool.release(connection)
        except Exception as error:  # noqa: BLE001 # whatever it is, the pool has closed the connection
            structlog.get_logger().debug("connection closed", cause=repr(error))

    async def renew(self) -> None:
        """Replace the connections that are not lent now."""
        await self._pool.expire_connections()
        while self._spare:
            await self._pool.release(self._spare.pop())

    async def close(self) -> None:
        """Hand everything to the pool, and close it when all that was lent is back."""
        while self._spare:
            await self._pool.release(self._spare.pop())
        # From now on nothing stays here.
        self._in_line += 1
        await self._pool.close()
