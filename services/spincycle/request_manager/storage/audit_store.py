"""The audit log in PostgreSQL: refused calls, and its entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from spincycle.database.database import Database
from spincycle.errors import AccessDenied
from spincycle.request_manager.storage.actor import Actor
from spincycle.request_manager.storage.audit_entry import AuditEntry, AuditFilter, entry_of
from spincycle.request_manager.storage.row_values import actor_columns
from spincycle.text.shortening import shortened

FAR_PAST = datetime(1970, 1, 1, tzinfo=UTC)
FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)
"""Outside of the times of entries."""

MAX_TEXT = 1000
"""Most characters of a stored text."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused call of a service, or a denied operation of a person or program.

    Attributes:
        caller: SPIFFE ID or name; empty if the caller was not identified.
        method: package.Service/Method; empty for an operation.
        reason: reason of the error.
        problem: message of the error.
        peer: address of the caller.
        request_id: request that it was about; empty if there is none.
        operation: the operation; "refused" for calls of services.
        request_type: type of the request; empty if there is none.
        actor: the caller of an operation; None for calls of services.
    """

    caller: str
    method: str
    reason: str
    problem: str
    peer: str
    request_id: str = ""
    operation: str = "refused"
    request_type: str = ""
    actor: Actor | None = None

    @classmethod
    def of_operation(
        cls,
        actor: Actor,
        operation: str,
        problem: str,
        request_type: str = "",
        request_id: str = "",
    ) -> Refusal:
        """Return the refusal of an operation that an access rule denied."""
        return cls(
            actor.name,
            "",
            AccessDenied.reason,
            problem,
            actor.peer,
            request_id,
            operation,
            request_type,
            actor,
        )

    @property
    def kind(self) -> tuple[str, str, str, str, str, str]:
        """Equal for refusals of which one is stored and the others are counted."""
        return (
            self.caller,
            self.method,
            self.operation,
            self.reason,
            self.request_type,
            self.request_id,
        )

    @property
    def text(self) -> str:
        """Reason of the row."""
        text = f"{self.method}: {self.reason}: {self.problem}" if self.method else self.problem
        # Texts of certificates may hold any character.
        return shortened(text.replace("\0", ""), MAX_TEXT)


class AuditStore:
    """Adds refusals to the audit log, and lists its entries.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_refusals(self, refusals: Sequence[Refusal]) -> None:
        """Store refusals."""
        actors = [refusal.actor or Actor(refusal.caller, peer=refusal.peer) for refusal in refusals]
        await self._database.execute(
            "audit_refusals",
            **actor_columns(actors),
            on_behalf_ofs=[actor.on_behalf_of for actor in actors],
            operations=[refusal.operation for refusal in refusals],
            request_ids=[refusal.request_id for refusal in refusals],
            request_types=[refusal.request_type for refusal in refusals],
            reasons=[refusal.text for refusal in refusals],
        )

    async def add_operation(self, actor: Actor, operation: str, reason: str) -> None:
        """Store an operation on the installation."""
        await self._database.execute(
            "audit_operation", operation=operation, reason=reason, **actor.columns
        )

    async def find(
        self, which: AuditFilter, limit: int, before: tuple[datetime, int] | None = None
    ) -> list[AuditEntry]:
        """Return up to `limit` entries that match, newest first, older than a time and id."""
        before_time, before_id = before or (FAR_FUTURE, 0)
        rows = await self._database.fetch(
            "list_audit",
            request_id=which.request_id,
            caller=which.caller,
            operations=list(which.operations),
            denied_only=which.denied_only,
            since=which.since or FAR_PAST,
            until=which.until or FAR_FUTURE,
            before_time=before_time,
            before_id=before_id,
            limit=limit,
        )
        return [entry_of(row) for row in rows]
