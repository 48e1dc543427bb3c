"""Transient database errors: one table of SQLSTATE classes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import asyncpg


class Scope(Enum):
    """Which statements an outage affects."""

    SERVER = "server"
    """All statements. Any statement that succeeds ends the outage."""

    RESOURCE = "resource"
    """Some statements, often only writes. A statement that succeeds does not end the outage."""

    STATEMENT = "statement"
    """One statement; it affects callers only if the same statement fails repeatedly."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A class of transient errors: the same statement can succeed later.

    Attributes:
        sqlstate: SQLSTATE, or its first two characters for a whole class; empty for an error of
            the driver.
        name: name in the log and in messages.
        scope: which statements it affects.
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
"""Outages by SQLSTATE or class. Any other error requires a change of the statement, its values,
the schema or the privileges, and is raised unchanged."""

READ_ONLY = OUTAGES["25006"]

UNREACHABLE = Outage("", "unreachable", Scope.SERVER)
"""The connection could not be opened, or broke."""

UNRESPONSIVE = Outage("", "not responding", Scope.SERVER)
"""The server did not respond to a trivial statement."""

REFUSED = Outage("", "connection refused", Scope.SERVER)
"""The server rejected a connection for a reason that is not in the table."""

NO_CONNECTION = Outage("", "no free connection", Scope.RESOURCE)
"""No connection became free or could be opened in time."""

STATEMENT_TIMEOUT = Outage("", "statement timeout", Scope.STATEMENT)
"""A statement exceeded its timeout."""

_SCHEMA_CHANGED = Outage("0A000", "schema changed during a transaction", Scope.STATEMENT)


def outage_of(error: BaseException, timeout: Outage = STATEMENT_TIMEOUT) -> Outage | None:
    """Return the outage that an error belongs to; None if a retry would fail in the same way.

    `timeout` is the outage that a TimeoutError stands for.
    """
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return _SCHEMA_CHANGED
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        return OUTAGES.get(sqlstate) or OUTAGES.get(sqlstate[:2])
    if isinstance(error, TimeoutError):
        return timeout
    if isinstance(error, OSError):
        return UNREACHABLE
    # Driver errors that are also ValueErrors are caused by invalid arguments.
    driver = isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError)
    return UNREACHABLE if driver and not isinstance(error, ValueError) else None
