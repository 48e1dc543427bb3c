"""Reads the audit log for admins, and records their operations on the installation."""

from __future__ import annotations

from datetime import datetime

from spincycle.access.caller import Caller
from spincycle.request_manager.requests.access_control import AccessControl
from spincycle.request_manager.storage.actor import Actor
from spincycle.request_manager.storage.audit_entry import AuditEntry, AuditFilter
from spincycle.request_manager.storage.audit_store import AuditStore


class AuditLog:
    """The audit log. Every method raises DatabaseUnavailable."""

    def __init__(self, store: AuditStore, access: AccessControl) -> None:
        self._store = store
        self._access = access

    async def find(
        self,
        caller: Caller,
        which: AuditFilter,
        limit: int,
        before: tuple[datetime, int] | None = None,
    ) -> list[AuditEntry]:
        """Return up to `limit` entries that match, newest first, older than a time and id.

        Raises:
            AccessDenied: the caller does not have the operation admin.
        """
        await self._access.authorize_admin(caller, "audit log")
        return await self._store.find(which, limit, before)

    async def record(self, actor: Actor, operation: str, reason: str) -> None:
        """Record an operation on the installation, before it is done."""
        await self._store.add_operation(actor, operation, reason)
