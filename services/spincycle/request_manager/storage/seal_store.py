"""Seals of the audit log in PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from spincycle.database.database import Database, Session
from spincycle.request_manager.storage.audit_entry import AuditEntry, entry_of
from spincycle.request_manager.storage.seal import ALL_IDS, END, NO_HEAD, Range, Seal

DELETION = re.compile(r"up to seal (\d{1,18}) with the head ([0-9a-f]{64})")
"""Part of the reason of an entry with the operation prune-audit."""


@dataclass(frozen=True, slots=True)
class SealedUpTo:
    """The last seal, and whether there is something to seal.

    Attributes:
        number: number of the seal; 0 if there is none.
        is_due: whether there are entries that no seal has.
        now: time of the database.
    """

    number: int
    head: bytes
    pending: tuple[Range, ...]
    is_due: bool
    now: datetime


class SealStore:
    """Reads and adds seals.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_due(self) -> bool:
        """Return whether there are entries that no seal has."""
        row = await self._database.fetch_one("sealed_up_to")
        return bool(row and row["is_due"])

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[LockedSeals | None]:
        """Begin a transaction in which only this process seals; None if another one does."""
        async with self._database.transaction() as session:
            row = await session.fetch_one("lock_seals")
            yield LockedSeals(session) if row and row["is_locked"] else None

    async def seals(self, after: int, limit: int) -> list[Seal]:
        """Return up to `limit` seals whose numbers follow a number."""
        rows = await self._database.fetch("seals_after", number=after, limit=limit)
        return [_seal(row) for row in rows]

    async def entries(self, audit_ids: Sequence[int]) -> dict[int, AuditEntry]:
        """Return those of the entries that exist, by id."""
        rows = await self._database.fetch("audit_of_ids", audit_ids=list(audit_ids))
        return {row["audit_id"]: entry_of(row) for row in rows}

    async def deletions(self) -> list[tuple[int, bytes]]:
        """Return (number, head) of the last seal of each deletion of old entries."""
        rows = await self._database.fetch("audit_of_deletions")
        found = [DELETION.search(row["reason"]) for row in rows]
        return [(int(match[1]), bytes.fromhex(match[2])) for match in found if match]

    async def ids(self, after: int, up_to: int, limit: int) -> list[int]:
        """Return up to `limit` ids of entries in a range, without its beginning, ascending."""
        rows = await self._database.fetch("audit_ids", after=after, up_to=up_to, limit=limit)
        return [row["audit_id"] for row in rows]


class LockedSeals:
    """Seals during a transaction in which no other process adds one."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def last(self) -> SealedUpTo:
        """Return the last seal."""
        row = await self._session.fetch_one("sealed_up_to")
        assert row is not None, "the query always returns a row"
        return SealedUpTo(
            row["number"] or 0,
            row["head"] or NO_HEAD,
            _ranges(row["pending"]) if row["number"] else ALL_IDS,
            row["is_due"],
            row["now"],
        )

    async def entries(self, pending: Sequence[Range], limit: int) -> list[AuditEntry]:
        """Return the committed entries with the lowest pending ids, ascending."""
        rows = await self._session.fetch(
            "audit_of_ranges",
            starts=[start for start, _ in pending],
            ends=[end for _, end in pending],
            limit=limit,
        )
        return [entry_of(row) for row in rows]

    async def add(self, seal: Seal) -> None:
        """Store a seal."""
        await self._session.execute(
            "add_seal",
            number=seal.number,
            audit_ids=list(seal.audit_ids),
            digests=seal.digests,
            pending=[
                asyncpg.Range(start, None if end == END else end) for start, end in seal.pending
            ],
            head=seal.head,
            key_id=seal.key_id,
            signature=seal.signature or None,
            sealed_at=seal.sealed_at,
        )


def _ranges(pending: Sequence[asyncpg.Range[int]]) -> tuple[Range, ...]:
    return tuple((one.lower or 1, END if one.upper is None else one.upper) for one in pending)


def _seal(row: asyncpg.Record) -> Seal:
    return Seal(
        row["number"],
        row["audit_ids"],
        row["digests"],
        _ranges(row["pending"]),
        row["sealed_at"],
        row["head"],
        row["key_id"],
        row["signature"] or b"",
    )
