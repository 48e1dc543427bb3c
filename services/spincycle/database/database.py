"""A service's database: a pool that outlives the server's absence, and queries by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg
import structlog

from spincycle import deadline
from spincycle.config import DatabaseConfig
from spincycle.database.lender import Lender
from spincycle.database.queries import Query
from spincycle.errors import DatabaseUnavailable

R = TypeVar("R")

SETTINGS = {
    "jit": "off",
    # Of disks that need no time to seek, and of what is in memory anyway: by its default a rare
    # argument is looked for in the order of time, row by row.
    "random_page_cost": "1.1",
}
"""What every session sets."""

ACQUIRE_TIMEOUT = 3.0
"""Seconds that a caller waits for a free connection."""

LOOK_INTERVAL = 2.0
"""Seconds without a statement after which a look is taken whether the server is there."""

LOOK_TIMEOUT = 2.0
"""Seconds that the server has to answer that."""

ATTEMPTS = 5
"""How often a statement is run that loses to others."""

LOST_TO_ANOTHER = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""What a statement raises that was undone so that another one could go on."""

UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # A connection that was told of the server's end, and is used before it is closed.
    asyncpg.InternalClientError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What a statement raises when the server is away, starting, ending or a standby."""


async def _hand_back(connection: Any) -> None:
    # No query of ours leaves anything behind on its connection but a transaction that was cut
    # off, so the round trip that would look for it is saved.
    if connection.is_in_transaction():
        await connection.reset()


class Session:
    """Runs named queries on one connection, within a transaction.

    A statement may take `timeout` seconds, or what is left of the call that needs it; the server
    is told to give it up then, as it is when its task is cancelled.
    """

    def __init__(self, connection: Any, queries: Mapping[str, Query], timeout: float) -> None:
        self._connection = connection
        self._queries = queries
        self._timeout = timeout

    async def fetch(self, name: str, /, **values: Any) -> list[asyncpg.Record]:
        """All rows."""
        query = self._queries[name]
        rows: list[asyncpg.Record] = await self._connection.fetch(
            query.sql, *query.bind(values), timeout=deadline.left(self._timeout)
        )
        return rows

    async def fetch_each(self, name: str, values: Sequence[dict[str, Any]]) -> list[asyncpg.Record]:
        """All rows of a query that is run for each of several sets of values."""
        query = self._queries[name]
        rows: list[asyncpg.Record] = await self._connection.fetchmany(
            query.sql, [query.bind(one) for one in values], timeout=deadline.left(self._timeout)
        )
        return rows

    async def fetch_one(self, name: str, /, **values: Any) -> asyncpg.Record | None:
        """The first row, or None."""
        query = self._queries[name]
        row: asyncpg.Record | None = await self._connection.fetchrow(
            query.sql, *query.bind(values), timeout=deadline.left(self._timeout)
        )
        return row

    async def execute(self, name: str, /, **values: Any) -> None:
        """Run a query that answers nothing."""
        query = self._queries[name]
        await self._connection.execute(
            query.sql, *query.bind(values), timeout=deadline.left(self._timeout)
        )


class Database:
    """A pool of connections and the named queries of one service.

    The pool connects when it is used, so a process starts, and goes on, without the
    server. Every method raises DatabaseUnavailable while the server is away, and while the
    schema is not there that the queries were written for.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        queries: Mapping[str, Query],
        statement_timeout: float,
        *,
        held_back: bool = False,
    ) -> None:
        self._pool = pool
        self._lender = Lender(pool)
        self._queries = queries
        self._statement_timeout = statement_timeout
        self._held_back = held_back
        self._reachable = True
        self._answered_at = float("-inf")

    @classmethod
    async def open(
        cls,
        config: DatabaseConfig,
        queries: Mapping[str, Query],
        application: str,
        *,
        held_back: bool = False,
    ) -> Database:
        """Make the pool; no connection is opened yet.

        `held_back`: run nothing before `let_through` is called.
        """
        pool = await asyncpg.create_pool(
            config.dsn.reveal(),
            min_size=0,
            max_size=config.max_connections,
            command_timeout=config.statement_timeout,
            timeout=ACQUIRE_TIMEOUT,
            reset=_hand_back,
            server_settings={"application_name": f"spincycle-{application}", **SETTINGS},
        )
        return cls(pool, queries, config.statement_timeout, held_back=held_back)

    def let_through(self) -> None:
        """Run statements from now on: the schema is there."""
        self._held_back = False

    @property
    def reachable(self) -> bool:
        """Whether statements are let through, and the last one reached the server."""
        return self._reachable and not self._held_back

    async def keep_reachable(self) -> None:
        """Look whether the server is there whenever no statement has, until cancelled.

        Whoever hides this process from callers by that needs it: no call would find out.
        """
        while True:
            await asyncio.sleep(LOOK_INTERVAL if self._reachable else LOOK_INTERVAL / 2)
            if self._reachable and time.monotonic() - self._answered_at < LOOK_INTERVAL:
                continue
            with suppress(DatabaseUnavailable):
                async with self._session() as session:
                    await session._connection.execute("SELECT", timeout=LOOK_TIMEOUT)  # noqa: SLF001 # as in transaction

    async def fetch(self, name: str, /, **values: Any) -> list[asyncpg.Record]:
        """All rows of a query."""
        return await self._alone(lambda session: session.fetch(name, **values))

    async def fetch_each(self, name: str, values: Sequence[dict[str, Any]]) -> list[asyncpg.Record]:
        """All rows of a query that is run for each of several sets of values.

        They travel together, and are one transaction.
        """
        return await self._alone(lambda session: session.fetch_each(name, values))

    async def fetch_one(self, name: str, /, **values: Any) -> asyncpg.Record | None:
        """The first row of a query, or None."""
        return await self._alone(lambda session: session.fetch_one(name, **values))

    async def execute(self, name: str, /, **values: Any) -> None:
        """Run a query that answers nothing."""
        await self._alone(lambda session: session.execute(name, **values))

    async def _alone(self, run: Callable[[Session], Awaitable[R]]) -> R:
        """Run one statement, again if it lost to another one: then it did nothing at all."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._once(run)
            except LOST_TO_ANOTHER as error:
                structlog.get_logger().warning("statement runs again", cause=repr(error))
        return await self._once(run)

    async def _once(self, run: Callable[[Session], Awaitable[R]]) -> R:
        # As `_session`, without the cost of a context manager: every statement comes this way.
        if self._held_back:
            raise DatabaseUnavailable
        try:
            connection = await self._lender.take(deadline.left(ACQUIRE_TIMEOUT))
            try:
                answer = await run(Session(connection, self._queries, self._statement_timeout))
            except BaseException:
                await self._lender.mend(connection)
                raise
            await self._lender.give_back(connection)
        except UNREACHABLE as error:
            raise self._missed(error)
        self._reached()
        return answer

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Run several queries as one: committed at the end, rolled back on an exception."""
        async with self._session() as session, session._connection.transaction():  # noqa: SLF001 # the two classes are one room
            yield session

    async def close(self) -> None:
        """Close the pool within a few seconds, forcibly if statements still run."""
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT):
                await self._lender.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        if self._held_back:
            raise DatabaseUnavailable
        try:
            connection = await self._lender.take(deadline.left(ACQUIRE_TIMEOUT))
            try:
                yield Session(connection, self._queries, self._statement_timeout)
            except BaseException:
                await self._lender.mend(connection)
                raise
            await self._lender.give_back(connection)
        except UNREACHABLE as error:
            raise self._missed(error)
        self._reached()

    def _missed(self, error: Exception) -> DatabaseUnavailable:
        if isinstance(error, TimeoutError) and deadline.is_over():
            # That says nothing of the server: the caller was in too much of a hurry.
            return DatabaseUnavailable()
        if self._reachable:
            structlog.get_logger().warning("database unavailable", cause=repr(error))
        self._reachable = False
        return DatabaseUnavailable()

    def _reached(self) -> None:
        if not self._reachable:
            structlog.get_logger().info("database available again")
        self._reachable = True
        self._answered_at = time.monotonic()
