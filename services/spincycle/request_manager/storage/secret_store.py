"""What is stored of secrets, as it is stored, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from spincycle.database.database import Database
from spincycle.request_manager.storage.portions import PORTION_BYTES

NOT_EXAMINED = "?"
"""Mark of rows of an earlier version, which may hold secrets in clear."""

MOST_COUNTED = 1000
"""Number of requests up to which counts are exact."""

LAST = "\x7f"
"""Text that is after all ids of keys and requests."""


@dataclass(frozen=True, slots=True)
class StoredArchive:
    """The archive of a request as it is stored.

    Attributes:
        sealed_under: id of the key; NOT_EXAMINED, or empty for secrets in clear.
        create_request: the call as JSON.
        args: the resolved arguments as JSON.
        content_hash: hash of the call; empty if there is none.
    """

    request_id: str
    sealed_under: str
    create_request: str
    args: str
    job_chain: bytes
    content_hash: str


@dataclass(frozen=True, slots=True)
class SealedArchive:
    """What replaces an archive; None leaves a column as it is.

    Attributes:
        before: `sealed_under` of the archive that is replaced.
        sealed_under: id of the key; None if there are no secrets.
    """

    request_id: str
    before: str
    sealed_under: str | None
    content_hash: str
    create_request: str | None = None
    args: str | None = None
    job_chain: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredState:
    """A saved state as it is stored; `sealed_under` as in StoredArchive."""

    request_id: str
    sealed_under: str
    suspended_job_chain: bytes


@dataclass(frozen=True, slots=True)
class SealedState:
    """What replaces a saved state.

    Attributes:
        before: `sealed_under` of the state that is replaced.
        suspended_job_chain_before: that state.
        sealed_under: as in SealedArchive.
    """

    request_id: str
    before: str
    suspended_job_chain_before: bytes
    sealed_under: str | None
    suspended_job_chain: bytes


class SecretStore:
    """Reads and replaces what is stored of secrets, while services run.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count_in_clear(self) -> int:
        """Return the number of requests with secrets in clear, up to MOST_COUNTED."""
        row = await self._database.fetch_one("count_secrets_in_clear", most=MOST_COUNTED)
        return int(row["requests"]) if row else 0

    async def count_sealed_under(self, key_id: str) -> int:
        """Return the number of archives and saved states that are sealed under a key."""
        row = await self._database.fetch_one("count_sealed_under", key_id=key_id)
        return int(row["places"]) if row else 0

    async def count_not_sealed_under(self, key_id: str) -> int:
        """Return the number of archives and saved states that may need sealing under a key.

        It is not exact above MOST_COUNTED.
        """
        row = await self._database.fetch_one(
            "count_not_sealed_under", key_id=key_id, most=MOST_COUNTED
        )
        return int(row["places"]) if row else 0

    async def archives_to_seal(
        self, after: tuple[str, str], until: str, batch: int
    ) -> list[StoredArchive]:
        """Return archives that may hold secrets, ordered by (sealed_under, request_id).

        They are after a place in this order, and before a value of `sealed_under`.
        """
        mark, request_id = after
        rows = await self._database.fetch(
            "get_archives_to_seal",
            after_mark=mark,
            after_id=request_id,
            until=until,
            batch=batch,
            most=PORTION_BYTES,
        )
        return [StoredArchive(**{**row, "content_hash": row["content_hash"] or ""}) for row in rows]

    async def seal_archives(self, archives: Sequence[SealedArchive]) -> set[str]:
        """Replace archives in one transaction; return the ids of those that had not changed."""
        rows = await self._database.fetch_each("seal_archive", [asdict(one) for one in archives])
        return {row["request_id"] for row in rows}

    async def states_to_seal(self, key_id: str, after: str, batch: int) -> list[StoredState]:
        """Return saved states after a request id that may hold secrets not sealed under a key."""
        rows = await self._database.fetch(
            "get_states_to_seal", key_id=key_id, after=after, batch=batch, most=PORTION_BYTES
        )
        return [StoredState(**row) for row in rows]

    async def seal_states(self, states: Sequence[SealedState]) -> set[str]:
        """Replace saved states in one transaction; return the ids of those that had not changed."""
        rows = await self._database.fetch_each("seal_state", [asdict(one) for one in states])
        return {row["request_id"] for row in rows}
