"""Access to a service's database: a connection pool that survives outages, and named queries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, TypeVar

import asyncpg
import structlog

from spincycle.database.availability import Availability
from spincycle.database.connection_cache import ConnectionCache
from spincycle.database.outages import (
    NO_CONNECTION,
    READ_ONLY,
    REFUSED,
    STATEMENT_TIMEOUT,
    UNRESPONSIVE,
    Outage,
    outage_of,
)
from spincycle.database.queries import Query, parse_queries
from spincycle.errors import DatabaseUnavailable
from spincycle.runtime import deadline
from spincycle.runtime.config import DatabaseConfig

R = TypeVar("R")

SETTINGS = {
    "jit": "off",
    # For SSDs and cached data. With the default, a search for a rare argument scans the requests
    # in the order of time.
    "random_page_cost": "1.1",
}
"""Settings of every session."""

ACQUIRE_TIMEOUT = 3.0
"""Seconds that a caller waits for a free connection."""

PROBE_INTERVAL = 2.0
"""Seconds without a successful statement after which the server is probed; during an outage, half
of that is the interval of probes."""

PROBE_TIMEOUT = 2.0
"""Seconds that a probe may take."""

ATTEMPTS = 5
"""Attempts of a statement that fails with a conflict."""

CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Errors of a statement that was rolled back in favour of a concurrent one."""

DEADLINE_MARGIN = 0.05
"""Seconds before a call's deadline within which a timeout is attributed to the deadline."""

_PROBES = {
    query.name: query.sql
    for query in parse_queries(
        files("spincycle.database").joinpath("probe.sql").read_text(encoding="utf-8")
    )
}


async def _reset(connection: Any) -> None:
    # Our queries leave no session state except an interrupted transaction; resetting only then
    # saves a round trip.
    if connection.is_in_transaction():
        await connection.reset()


class Session:
    """Runs named queries on one connection, within a transaction.

    A statement may take `timeout` seconds, or less if the call's deadline is earlier. Then, or when
    its task is cancelled, the server cancels the statement.
    """

    def __init__(self, connection: Any, queries: Mapping[str, Query], timeout: float) -> None:
        self._connection = connection
        self._queries = queries
        self._timeout = timeout

    async def fetch(self, name: str, /, **values: Any) -> list[asyncpg.Record]:
        """Return all rows."""
        query = self._queries[name]
        rows: list[asyncpg.Record] = await self._connection.fetch(
            query.sql, *query.bind(values), timeout=deadline.remaining(self._timeout)
        )
        return rows

    async def fetch_each(self, name: str, values: Sequence[dict[str, Any]]) -> list[asyncpg.Record]:
        """Run a query once per set of values, and return all rows."""
        query = self._queries[name]
        rows: list[asyncpg.Record] = await self._connection.fetchmany(
            query.sql,
            [query.bind(one) for one in values],
            timeout=deadline.remaining(self._timeout),
        )
        return rows

    async def fetch_one(self, name: str, /, **values: Any) -> asyncpg.Record | None:
        """Return the first row, or None."""
        query = self._queries[name]
        row: asyncpg.Record | None = await self._connection.fetchrow(
            query.sql, *query.bind(values), timeout=deadline.remaining(self._timeout)
        )
        return row

    async def execute(self, name: str, /, **values: Any) -> None:
        """Run a query that returns no rows."""
        query = self._queries[name]
        await self._connection.execute(
            query.sql, *query.bind(values), timeout=deadline.remaining(self._timeout)
        )


class Database:
    """Runs the named queries of one service on a pool of connections.

    The pool connects on demand, so a process starts and runs without the server. Every method
    raises DatabaseUnavailable for transient errors (listed in `outages.py`) and until the schema
    is ready. Other errors of the server are raised unchanged.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        queries: Mapping[str, Query],
        statement_timeout: float,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        *,
        schema_ready: bool = True,
    ) -> None:
        self._pool = pool
        self._connections = ConnectionCache(pool)
        self._queries = queries
        self._statement_timeout = statement_timeout
        self._connect = connect
        self._schema_ready = schema_ready
        self._availability = Availability()
        self._succeeded_at = float("-inf")

    @classmethod
    async def open(
        cls,
        config: DatabaseConfig,
        queries: Mapping[str, Query],
        application: str,
        *,
        schema_ready: bool = True,
    ) -> Database:
        """Create the pool, without opening a connection.

        With `schema_ready=False`, statements fail until `mark_schema_ready` is called.
        """
        settings = {"application_name": f"spincycle-{application}", **SETTINGS}
        pool = await asyncpg.create_pool(
            config.dsn.reveal(),
            min_size=0,
            max_size=config.max_connections,
            command_timeout=config.statement_timeout,
            timeout=ACQUIRE_TIMEOUT,
            reset=_reset,
            server_settings=settings,
        )

        async def connect() -> asyncpg.Connection:
            return await asyncpg.connect(
                config.dsn.reveal(), timeout=ACQUIRE_TIMEOUT, server_settings=settings
            )

        return cls(pool, queries, config.statement_timeout, connect, schema_ready=schema_ready)

    def mark_schema_ready(self) -> None:
        """Allow statements: the schema is up to date."""
        self._schema_ready = True

    @property
    def reachable(self) -> bool:
        """Whether the schema is ready and no current outage affects callers."""
        return self._availability.available and self._schema_ready

    async def keep_reachable(self) -> None:
        """Probe the server while no statement succeeds or an outage lasts, until cancelled.

        A process that is not ready gets no calls whose statements would end an outage; so every
        process whose health depends on `reachable` must run this.
        """
        while True:
            disturbed = self._availability.disturbed
            await asyncio.sleep(PROBE_INTERVAL / 2 if disturbed else PROBE_INTERVAL)
            self._availability.settle()
            succeeded = time.monotonic() - self._succeeded_at < PROBE_INTERVAL
            if not self._schema_ready or (succeeded and not self._availability.disturbed):
                continue
            await self._probe()

    async def fetch(self, name: str, /, **values: Any) -> list[asyncpg.Record]:
        """Return all rows of a query."""
        return await self._run(name, lambda session: session.fetch(name, **values))

    async def fetch_each(self, name: str, values: Sequence[dict[str, Any]]) -> list[asyncpg.Record]:
        """Run a query once per set of values in one transaction and round trip; return all rows."""
        return await self._run(name, lambda session: session.fetch_each(name, values))

    async def fetch_one(self, name: str, /, **values: Any) -> asyncpg.Record | None:
        """Return the first row of a query, or None."""
        return await self._run(name, lambda session: session.fetch_one(name, **values))

    async def execute(self, name: str, /, **values: Any) -> None:
        """Run a query that returns no rows."""
        await self._run(name, lambda session: session.execute(name, **values))

    async def _run(self, name: str, run: Callable[[Session], Awaitable[R]]) -> R:
        """Run one statement, and retry it after a conflict: then it had no effect."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._run_once(name, run)
            except CONFLICTS as error:
                structlog.get_logger().warning("retrying statement", cause=repr(error))
        try:
            return await self._run_once(name, run)
        except CONFLICTS as error:
            raise self._translate(error, name)

    async def _run_once(self, name: str, run: Callable[[Session], Awaitable[R]]) -> R:
        # Not a context manager, for speed: every statement passes here.
        connection = await self._acquire(name)
        try:
            result = await run(Session(connection, self._queries, self._statement_timeout))
            await self._connections.release(connection)
        except CONFLICTS:
            await self._connections.release_failed(connection)
            raise
        except Exception as error:  # noqa: BLE001 # translated and raised
            await self._connections.release_failed(connection)
            raise self._translate(error, name)
        except BaseException:
            await self._connections.release_failed(connection)
            raise
        self._record_success(name)
        return result

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Run queries in a transaction: committed at the end, rolled back on an exception."""
        name = "transaction"
        connection = await self._acquire(name)
        try:
            async with connection.transaction():
                yield Session(connection, self._queries, self._statement_timeout)
            await self._connections.release(connection)
        except Exception as error:  # noqa: BLE001 # translated and raised
            await self._connections.release_failed(connection)
            raise self._translate(error, name)
        except BaseException:
            await self._connections.release_failed(connection)
            raise
        self._record_success(name)

    async def close(self) -> None:
        """Close the pool within a few seconds, forcibly if statements still run."""
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT):
                await self._connections.close()
        except TimeoutError:
            self._pool.terminate()

    async def _acquire(self, name: str) -> Any:
        if not self._schema_ready:
            raise DatabaseUnavailable("no schema")
        try:
            return await self._connections.acquire(deadline.remaining(ACQUIRE_TIMEOUT))
        except asyncpg.PostgresError as error:
            # Such as 55000 and 42501: at connection time they concern the database.
            outage = outage_of(error) or REFUSED
            self._availability.failed(outage, name, error)
            raise DatabaseUnavailable(outage.name)
        except Exception as error:  # noqa: BLE001 # translated and raised
            raise self._translate(error, name, NO_CONNECTION)

    async def _probe(self) -> None:
        write = self._availability.lacks_resources()
        name = "write" if write else "respond"
        try:
            await (self._probe_writes() if write else self._probe_response())
        except Exception as error:  # noqa: BLE001 # any other error is a response of the server
            outage = outage_of(error, UNRESPONSIVE)
            if outage is not None:
                self._availability.failed(outage, name, error)
                return
        if write:
            if self._availability.lasts(READ_ONLY):
                # Connections opened before the change may stay read-only until they are closed.
                await self._connections.replace()
            self._availability.probed(name)
        self._record_success(name)

    async def _probe_response(self) -> None:
        connection = await self._connections.acquire(ACQUIRE_TIMEOUT)
        try:
            await connection.execute(_PROBES["respond"], timeout=PROBE_TIMEOUT)
        except BaseException:
            await self._connections.release_failed(connection)
            raise
        await self._connections.release(connection)

    async def _probe_writes(self) -> None:
        # A new connection, to detect a lack of connections and changed settings.
        connection = await self._connect()
        try:
            await connection.execute(_PROBES["write"], timeout=PROBE_TIMEOUT)
        finally:
            await connection.close(timeout=PROBE_TIMEOUT)

    def _translate(
        self, error: Exception, name: str, timeout: Outage = STATEMENT_TIMEOUT
    ) -> Exception:
        """Return the exception to raise for an error of query `name`.

        `timeout` is the outage that a TimeoutError stands for.
        """
        if (
            isinstance(error, TimeoutError)
            and deadline.remaining(DEADLINE_MARGIN) < DEADLINE_MARGIN
        ):
            # Not an outage: the call's deadline was too short.
            return DatabaseUnavailable("no time left")
        outage = outage_of(error, timeout)
        if outage is None:
            return error
        self._availability.failed(outage, name, error)
        return DatabaseUnavailable(outage.name)

    def _record_success(self, name: str) -> None:
        if self._availability.disturbed:
            self._availability.succeeded(name)
        self._succeeded_at = time.monotonic()
