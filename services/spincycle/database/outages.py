"""Database errors that a retry can outlive: one table of SQLSTATE classes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import asyncpg


class Scope(Enum):
    """What the error of one statement says about other statements."""

    SERVER = "server"
    """All fail. Any statement that succeeds shows that it is over."""

    RESOURCE = "resource"
    """Some fail, often only writes. A statement that succeeds does not show that it is over."""

    STATEMENT = "statement"
    """Nothing, unless the same statement fails again and again."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A class of errors that pass without a change of the statement.

    Attributes:
        sqlstate: SQLSTATE, or its first two characters for a whole class; empty if the error is
            the driver's own.
        name: as the log and callers see it.
        scope: what it says about other statements.
    """

    sqlstate: str
    name: str
    scope: Scope


OUTAGES = {
    outage.sqlstate: outage
    for outage in (
        Outage("08", "connection lost", Scope.SERVER),
        Outage("25006", "read-only", Scope.RESOURCE),
        Outage("25P03", "transaction idle for too long", Scope.STATEMENT),
        Outage("25P04", "transaction timeout", Scope.STATEMENT),
        Outage("28", "access refused", Scope.SERVER),
        Outage("3D000", "database missing", Scope.SERVER),
        Outage("40", "transaction rolled back", Scope.STATEMENT),
        Outage("53", "out of resources", Scope.RESOURCE),
        Outage("53100", "disk full", Scope.RESOURCE),
        Outage("53200", "out of memory", Scope.RESOURCE),
        Outage("53300", "too many connections", Scope.RESOURCE),
        Outage("53400", "configured limit exceeded", Scope.STATEMENT),
        Outage("55P03", "lock timeout", Scope.STATEMENT),
        Outage("57", "shutting down or starting", Scope.SERVER),
        Outage("57014", "statement cancelled", Scope.STATEMENT),
        Outage("58000", "system error", Scope.RESOURCE),
        Outage("58030", "I/O error", Scope.RESOURCE),
        Outage("72000", "snapshot too old", Scope.STATEMENT),
    )
}
"""Outages by SQLSTATE or class. Whatever is not here needs a change of the statement, its values,
the schema or the rights, and is reported as it is."""

READ_ONLY = OUTAGES["25006"]

UNREACHABLE = Outage("", "unreachable", Scope.SERVER)
"""The connection could not be opened, or broke."""

UNRESPONSIVE = Outage("", "not responding", Scope.SERVER)
"""The server did not answer a statement that takes no time."""

REFUSED = Outage("", "connection refused", Scope.SERVER)
"""The server did not accept a connection, for a reason that the table does not have."""

NO_CONNECTION = Outage("", "no free connection", Scope.RESOURCE)
"""No connection became free, or could be opened, in time."""

STATEMENT_TIMEOUT = Outage("", "statement timeout", Scope.STATEMENT)
"""A statement took longer than it may."""

_SCHEMA_CHANGED = Outage("0A000", "schema changed during a transaction", Scope.STATEMENT)


def outage_of(error: BaseException, late: Outage = STATEMENT_TIMEOUT) -> Outage | None:
    """Return the outage that an error belongs to; None if a retry would fail in the same way.

    `late` is what a TimeoutError means.
    """
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return _SCHEMA_CHANGED
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        return OUTAGES.get(sqlstate) or OUTAGES.get(sqlstate[:2])
    if isinstance(error, TimeoutError):
        return late
    if isinstance(error, OSError):
        return UNREACHABLE
    # The driver's errors that are ValueErrors too are about what it was given.
    driver = isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError)
    return UNREACHABLE if driver and not isinstance(error, ValueError) else None
