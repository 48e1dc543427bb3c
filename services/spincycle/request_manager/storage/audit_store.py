"""The audit log in PostgreSQL: decisions on calls of other services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spincycle.database.database import Database
from spincycle.text.shortening import shortened

MAX_TEXT = 1000
"""Most characters of a stored text."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call of a service, or a report in it, that was refused.

    Attributes:
        caller: SPIFFE ID; empty if the caller was not identified.
        method: package.Service/Method.
        reason: reason of the error.
        problem: message of the error.
        peer: address of the caller.
        request_id: request that it was about; empty if there is none.
    """

    caller: str
    method: str
    reason: str
    problem: str
    peer: str
    request_id: str = ""


class AuditStore:
    """Adds to the audit log.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_refusals(self, refusals: Sequence[Refusal]) -> None:
        """Store refusals."""
        await self._database.execute(
            "audit_refusals",
            callers=[refusal.caller for refusal in refusals],
            request_ids=[refusal.request_id for refusal in refusals],
            reasons=[_text(refusal) for refusal in refusals],
        )


def _text(refusal: Refusal) -> str:
    text = f"{refusal.method}: {refusal.reason}: {refusal.problem} (from {refusal.peer})"
    # Texts of certificates may hold any character.
    return shortened(text.replace("\0", ""), MAX_TEXT)
