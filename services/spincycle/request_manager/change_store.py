"""Which requests changed, in the order in which that was committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from spincycle.database.database import Database
from spincycle.request_arg import RequestArg
from spincycle.request_manager.model import Request
from spincycle.request_manager.store import request_of


@dataclass(frozen=True, slots=True)
class Seen:
    """Changes that were seen: those visible in a snapshot, and the first ones of a second span.

    Attributes:
        snapshot: of the database, as PostgreSQL writes one.
        half: a later snapshot; of what became visible in it only the changes up to the place
            (`change`, `request_id`) were seen. Empty if there is none.
    """

    snapshot: str
    half: str = ""
    change: int = 0
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """A request that changed, and the place of the change in the order of all."""

    request: Request
    change: int


class ChangeStore:
    """Reads changes. Every method raises DatabaseUnavailable while the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> Seen:
        """All that has been committed by now."""
        row = await self._database.fetch_one("committed_by_now")
        assert row is not None
        return Seen(row["snapshot"])

    async def after(
        self, seen: Seen, until: str | None = None, limit: int | None = None
    ) -> tuple[str, list[Changed]]:
        """Changes that were not seen, at most `limit`, and the snapshot up to which they go."""
        rows = await self._database.fetch(
            "changed_requests",
            seen=seen.snapshot,
            until=until,
            half_seen=seen.half or None,
            change=seen.change,
            request_id=seen.request_id,
            limit=limit,
        )
        changed = [Changed(request_of(row), row["change"]) for row in rows if row["request_id"]]
        return until or rows[0]["snapshot"], changed

    async def args(self, request_ids: Sequence[str]) -> dict[str, list[RequestArg]]:
        """Arguments of requests as they were understood, by request."""
        rows = await self._database.fetch("args_of_requests", request_ids=list(request_ids))
        return {
            row["request_id"]: [RequestArg(**arg) for arg in orjson.loads(row["args"])]
            for row in rows
        }
