"""What the database was asked to do: statements, commits, and how many rows went together."""

from __future__ import annotations

import re
from dataclasses import dataclass

import asyncpg

from spincycle.database.queries import load_queries

_CONSTANT = re.compile(r"'[^']*'|\$\d+|\b\d+\b|\b(?:true|false|null)\b", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*")
_NOT_COUNTED = re.compile(r"pg_stat_statements|pg_current_snapshot")


@dataclass(frozen=True, slots=True)
class Done:
    """What was done in a stretch of time.

    Attributes:
        statements: all statements of all services.
        commits: transactions that wrote.
        calls: statements by the name that the code gives them.
    """

    statements: int
    commits: int
    calls: dict[str, int]


class Statements:
    """Counts from one call of `begin` to the next call of `end`."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._transactions = 0
        self._names = {
            _bare(query.sql): name
            for package in ("spincycle.request_manager", "spincycle.job_log")
            for name, query in load_queries(package).items()
        }

    async def begin(self) -> None:
        """Begin to count."""
        await self._connection.execute("SELECT pg_stat_statements_reset()")
        self._transactions = await self._xids()

    async def end(self) -> Done:
        """What was done since."""
        commits = await self._xids() - self._transactions
        rows = await self._connection.fetch("SELECT query, calls FROM pg_stat_statements")
        calls: dict[str, int] = {}
        for row in rows:
            if not _NOT_COUNTED.search(row["query"]):
                name = self._names.get(_bare(row["query"]), row["query"].split("\n")[0][:60])
                calls[name] = calls.get(name, 0) + row["calls"]
        return Done(sum(calls.values()), commits, calls)

    async def _xids(self) -> int:
        text = await self._connection.fetchval(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
        )
        return int(text)


def _bare(sql: str) -> str:
    return re.sub(r"\s+", "", _CONSTANT.sub("", _COMMENT.sub("", sql))).rstrip(";")
