"""A service's database: a pool that outlives the server's absence, and queries by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
import structlog

from spincycle.config import DatabaseConfig
from spincycle.database.queries import Query
from spincycle.errors import DatabaseUnavailable

R = TypeVar("R")

ACQUIRE_TIMEOUT = 3.0
"""Seconds that a caller waits for a free connection."""

RETRY_INTERVAL = 1.0
"""Seconds between two attempts to reach a server that was lost."""

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
    """Runs named queries on one connection, within a transaction."""

    def __init__(self, connection: Any, queries: Mapping[str, Query]) -> None:
        self._connection = connection
        self._queries = queries

    async def fetch(self, name: str, /, **values: Any) -> list[asyncpg.Record]:
        """All rows."""
        query = self._queries[name]
        rows: list[asyncpg.Record] = await self._connection.fetch(query.sql, *query.bind(values))
        return rows

    async def fetch_one(self, name: str, /, **values: Any) -> asyncpg.Record | None:
        """The first row, or None."""
        query = self._queries[name]
        row: asyncpg.Record | None = await self._connection.fetchrow(query.sql, *query.bind(values))
        return row

    async def execute(self, name: str, /, **values: Any) -> None:
        """Run a query that answers nothing."""
        query = self._queries[name]
        await self._connection.execute(query.sql, *query.bind(values))


class Database:
    """A pool of connections and the named queries of one service.

    The pool connects when it is used, so a process starts, and goes on, without the
    server. Every method raises DatabaseUnavailable while the server is away, and while the
    schema is not there that the queries were written for.
    """

    def __init__(
        self, pool: asyncpg.Pool, queries: Mapping[str, Query], *, held_back: bool = False
    ) -> None:
        self._pool = pool
        self._queries = queries
        self._held_back = held_back
        self._reachable = True
        self._lost = asyncio.Event()

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
            config.dsn.get_secret_value(),
            min_size=0,
            max_size=config.max_connections,
            command_timeout=config.statement_timeout,
            timeout=ACQUIRE_TIMEOUT,
            reset=_hand_back,
            server_settings={"application_name": f"spincycle-{application}", "jit": "off"},
        )
        return cls(pool, queries, held_back=held_back)

    def let_through(self) -> None:
        """Run statements from now on: the schema is there."""
        self._held_back = False

    @property
    def reachable(self) -> bool:
        """Whether statements are let through, and the last one reached the server."""
        return self._reachable and not self._held_back

    async def keep_reachable(self) -> None:
        """After the server was lost, look whether it is back, until cancelled.

        Whoever hides this process from callers while it is not reachable needs that: no call
        would find out.
        """
        while True:
            await self._lost.wait()
            self._lost.clear()
            while not self._reachable:
                await asyncio.sleep(RETRY_INTERVAL)
                try:
                    async with self._session() as session:
                        await session._connection.execute("SELECT")  # noqa: SLF001 # as in transaction
                except DatabaseUnavailable:
                    continue

    async def fetch(self, name: str, /, **values: Any) -> list[asyncpg.Record]:
        """All rows of a query."""
        return await self._alone(lambda session: session.fetch(name, **values))

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
                async with self._session() as session:
                    return await run(session)
            except LOST_TO_ANOTHER as error:
                structlog.get_logger().warning("statement runs again", cause=repr(error))
        async with self._session() as session:
            return await run(session)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Run several queries as one: committed at the end, rolled back on an exception."""
        async with self._session() as session, session._connection.transaction():  # noqa: SLF001 # the two classes are one room
            yield session

    async def close(self) -> None:
        """Close the pool within a few seconds, forcibly if statements still run."""
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        if self._held_back:
            raise DatabaseUnavailable
        try:
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT) as connection:
                yield Session(connection, self._queries)
        except UNREACHABLE as error:
            if self._reachable:
                structlog.get_logger().warning("database unavailable", cause=repr(error))
            self._reachable = False
            self._lost.set()
            raise DatabaseUnavailable
        if not self._reachable:
            structlog.get_logger().info("database available again")
        self._reachable = True
