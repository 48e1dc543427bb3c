"""A service's database: a pool that outlives the server's absence, and queries by name."""

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
from spincycle.database.lender import Lender
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
    # Of disks that need no time to seek, and of what is in memory anyway: by its default a rare
    # argument is looked for in the order of time, row by row.
    "random_page_cost": "1.1",
}
"""What every session sets."""

ACQUIRE_TIMEOUT = 3.0
"""Seconds that a caller waits for a free connection."""

LOOK_INTERVAL = 2.0
"""Seconds without a statement after which the server is probed, and half of that while an outage
lasts."""

LOOK_TIMEOUT = 2.0
"""Seconds that the server has to answer a probe."""

ATTEMPTS = 5
"""How often a statement is run that loses to others."""

LOST_TO_ANOTHER = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""What a statement raises that was undone so that another one could go on."""

IN_A_HURRY = 0.05
"""Seconds before the deadline of a call from which on a timeout is due to that deadline."""

_PROBES = {
    query.name: query.sql
    for query in parse_queries(
        files("spincycle.database").joinpath("probe.sql").read_text(encoding="utf-8")
    )
}


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
    server. Every method raises DatabaseUnavailable at an error that a retry can outlive
    (`outages.py` lists them), and while the schema is not there that the queries were written
    for. Other errors of the server are raised as they are.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        queries: Mapping[str, Query],
        statement_timeout: float,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        *,
        held_back: bool = False,
    ) -> None:
        self._pool = pool
        self._lender = Lender(pool)
        self._queries = queries
        self._statement_timeout = statement_timeout
        self._connect = connect
        self._held_back = held_back
        self._availability = Availability()
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
        settings = {"application_name": f"spincycle-{application}", **SETTINGS}
        pool = await asyncpg.create_pool(
            config.dsn.reveal(),
            min_size=0,
            max_size=config.max_connections,
            command_timeout=config.statement_timeout,
            timeout=ACQUIRE_TIMEOUT,
            reset=_hand_back,
            server_settings=settings,
        )

        async def connect() -> asyncpg.Connection:
            return await asyncpg.connect(
                config.dsn.reveal(), timeout=ACQUIRE_TIMEOUT, server_settings=settings
            )

        return cls(pool, queries, config.statement_timeout, connect, held_back=held_back)

    def let_through(self) -> None:
        """Run statements from now on: the schema is there."""
        self._held_back = False

    @property
    def reachable(self) -> bool:
        """Whether statements are let through, and no outage lasts that callers should avoid."""
        return self._availability.available and not self._held_back

    async def keep_reachable(self) -> None:
        """Probe the server while no statement succeeds or an outage lasts, until cancelled.

        A process that is not ready gets no calls, whose statements would show that an outage is
        over; so every process whose health depends on `reachable` needs this.
        """
        while True:
            disturbed = self._availability.disturbed
            await asyncio.sleep(LOOK_INTERVAL / 2 if disturbed else LOOK_INTERVAL)
            self._availability.settle()
            answered = time.monotonic() - self._answered_at < LOOK_INTERVAL
            if self._held_back or (answered and not self._availability.disturbed):
                continue
            await self._probe()

    async def fetch(self, name: str, /, **values: Any) -> list[asyncpg.Record]:
        """All rows of a query."""
        return await self._alone(name, lambda session: session.fetch(name, **values))

    async def fetch_each(self, name: str, values: Sequence[dict[str, Any]]) -> list[asyncpg.Record]:
        """All rows of a query that is run for each of several sets of values.

        They travel together, and are one transaction.
        """
        return await self._alone(name, lambda session: session.fetch_each(name, values))

    async def fetch_one(self, name: str, /, **values: Any) -> asyncpg.Record | None:
        """The first row of a query, or None."""
        return await self._alone(name, lambda session: session.fetch_one(name, **values))

    async def execute(self, name: str, /, **values: Any) -> None:
        """Run a query that answers nothing."""
        await self._alone(name, lambda session: session.execute(name, **values))

    async def _alone(self, name: str, run: Callable[[Session], Awaitable[R]]) -> R:
        """Run one statement, again if it lost to another one: then it did nothing at all."""
        for _ in range(ATTEMPTS - 1):
            try:
                return await self._once(name, run)
            except LOST_TO_ANOTHER as error:
                structlog.get_logger().warning("statement runs again", cause=repr(error))
        try:
            return await self._once(name, run)
        except LOST_TO_ANOTHER as error:
            raise self._named(error, name)

    async def _once(self, name: str, run: Callable[[Session], Awaitable[R]]) -> R:
        # As `_session`, without the cost of a context manager: every statement comes this way.
        connection = await self._take(name)
        try:
            answer = await run(Session(connection, self._queries, self._statement_timeout))
            await self._lender.give_back(connection)
        except LOST_TO_ANOTHER:
            await self._lender.mend(connection)
            raise
        except Exception as error:  # noqa: BLE001 # raised again, by its name
            await self._lender.mend(connection)
            raise self._named(error, name)
        except BaseException:
            await self._lender.mend(connection)
            raise
        self._succeeded(name)
        return answer

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Run several queries as one: committed at the end, rolled back on an exception."""
        name = "transaction"
        connection = await self._take(name)
        try:
            async with connection.transaction():
                yield Session(connection, self._queries, self._statement_timeout)
            await self._lender.give_back(connection)
        except Exception as error:  # noqa: BLE001 # raised again, by its name
            await self._lender.mend(connection)
            raise self._named(error, name)
        except BaseException:
            await self._lender.mend(connection)
            raise
        self._succeeded(name)

    async def close(self) -> None:
        """Close the pool within a few seconds, forcibly if statements still run."""
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT):
                await self._lender.close()
        except TimeoutError:
            self._pool.terminate()

    async def _take(self, name: str) -> Any:
        if self._held_back:
            raise DatabaseUnavailable("no schema")
        try:
            return await self._lender.take(deadline.left(ACQUIRE_TIMEOUT))
        except asyncpg.PostgresError as error:
            # Such as 55000 and 42501, which are about the database here, and not about a statement.
            outage = outage_of(error) or REFUSED
            self._availability.failed(outage, name, error)
            raise DatabaseUnavailable(outage.name)
        except Exception as error:  # noqa: BLE001 # raised again, by its name
            raise self._named(error, name, NO_CONNECTION)

    async def _probe(self) -> None:
        write = self._availability.lacks_resources()
        name = "write" if write else "respond"
        try:
            await (self._probe_writes() if write else self._probe_response())
        except Exception as error:  # noqa: BLE001 # an error that is no outage is a response, too
            outage = outage_of(error, UNRESPONSIVE)
            if outage is not None:
                self._availability.failed(outage, name, error)
                return
        if write:
            if self._availability.lasts(READ_ONLY):
                # Connections of before the change may stay read-only for as long as they live.
                await self._lender.renew()
            self._availability.probed(name)
        self._succeeded(name)

    async def _probe_response(self) -> None:
        connection = await self._lender.take(ACQUIRE_TIMEOUT)
        try:
            await connection.execute(_PROBES["respond"], timeout=LOOK_TIMEOUT)
        except BaseException:
            await self._lender.mend(connection)
            raise
        await self._lender.give_back(connection)

    async def _probe_writes(self) -> None:
        # On a connection of its own: too many of them, and settings of new ones, are seen only so.
        connection = await self._connect()
        try:
            await connection.execute(_PROBES["write"], timeout=LOOK_TIMEOUT)
        finally:
            await connection.close(timeout=LOOK_TIMEOUT)

    def _named(self, error: Exception, name: str, late: Outage = STATEMENT_TIMEOUT) -> Exception:
        """The exception to raise in place of one that query `name` raised."""
        if isinstance(error, TimeoutError) and deadline.left(IN_A_HURRY) < IN_A_HURRY:
            # That says nothing of the server: the caller was in too much of a hurry.
            return DatabaseUnavailable("no time left")
        outage = outage_of(error, late)
        if outage is None:
            return error
        self._availability.failed(outage, name, error)
        return DatabaseUnavailable(outage.name)

    def _succeeded(self, name: str) -> None:
        if self._availability.disturbed:
            self._availability.succeeded(name)
        self._answered_at = time.monotonic()
