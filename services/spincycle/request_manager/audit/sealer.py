"""Seals the audit log: each seal is over committed entries, and over the seal before it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from spincycle.errors import DatabaseUnavailable
from spincycle.identity.signing_keys import SigningKey
from spincycle.request_manager.storage.audit_entry import AuditEntry
from spincycle.request_manager.storage.seal import (
    END,
    NO_HEAD,
    Range,
    Seal,
    digest_of,
    head_of,
    remaining,
    signed_data,
)
from spincycle.request_manager.storage.seal_store import SealedUpTo, SealStore

BATCH = 500
"""Most entries in a seal."""

GAP_TIMEOUT = 600.0
"""Seconds after which an id without an entry is no longer awaited: longer than any transaction of
the services lasts."""

_LOG_BATCH = 50
"""Log lines between which other tasks may run."""


class Sealer:
    """Seals entries shortly after they are committed, and logs each with the event "audit".

    If the seals that it last saw are gone, it seals nothing more: a signed seal would make the
    removal look right.

    Ids are drawn before entries are committed, so an entry may appear below others that are sealed.
    Each seal has the ids that may still appear.

    Args:
        key: signs the heads; None means that they are not signed.
        interval: seconds between two rounds.

    Attributes:
        sealed: number of entries that this process sealed.
        are_removed: whether seals were removed or replaced that this process has seen.
    """

    def __init__(
        self,
        store: SealStore,
        key: SigningKey | None,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._key = key
        self._interval = interval
        self._clock = clock
        self._gaps: dict[Range, float] = {}
        self._seen = (0, NO_HEAD)
        self.sealed = 0
        self.are_removed = False

    async def run(self) -> None:
        """Seal until cancelled."""
        log = structlog.get_logger()
        if self._key is None:
            log.warning(
                "audit log not signed: an account that can change the tables can also seal them "
                "again; make a key by `spincycle keys init`, and set audit.signing_key"
            )
        while True:
            is_full = False
            try:
                is_full = await self.seal()
            except DatabaseUnavailable:
                log.debug("cannot seal the audit log")
            if not is_full:
                await asyncio.sleep(self._interval)

    async def seal(self) -> bool:
        """Seal what is committed, up to BATCH entries; return whether there may be more.

        Raises:
            DatabaseUnavailable: nothing is sealed, or the seal may be stored.
        """
        if not await self._store.is_due():
            return False
        async with self._store.locked() as seals:
            if seals is None:
                return False
            last = await seals.last()
            if self._check_removal(last):
                return False
            entries = await seals.entries(last.pending, BATCH)
            if not entries:
                return False
            seal = self._next(last, entries)
            await seals.add(seal)
        self.sealed += len(entries)
        self._seen = (seal.number, seal.head)
        await _log(seal, entries)
        return len(entries) == BATCH

    def _check_removal(self, last: SealedUpTo) -> bool:
        """Return whether seals that this process has seen are gone; log that once."""
        number, head = self._seen
        if last.number < number or (last.number == number and last.head != head):
            if not self.are_removed:
                structlog.get_logger().error(
                    "seals of the audit log were removed or replaced; nothing more is sealed until "
                    "a restart",
                    last_number=last.number,
                    last_head=last.head.hex(),
                    seen_number=number,
                    seen_head=head.hex(),
                )
            self.are_removed = True
        else:
            self.are_removed = False
            self._seen = (last.number, last.head)
        return self.are_removed

    def _next(self, last: SealedUpTo, entries: Sequence[AuditEntry]) -> Seal:
        number = last.number + 1
        ids = [entry.id for entry in entries]
        digests = b"".join(map(digest_of, entries))
        pending = self._without_old_gaps(remaining(last.pending, ids))
        head = head_of(last.head, number, ids, digests, pending, last.now)
        if self._key is None:
            return Seal(number, ids, digests, pending, last.now, head)
        signature = self._key.sign(signed_data(head))
        return Seal(number, ids, digests, pending, last.now, head, self._key.id, signature)

    def _without_old_gaps(self, pending: tuple[Range, ...]) -> tuple[Range, ...]:
        now = self._clock()
        self._gaps = {gap: self._gaps.get(gap, now) for gap in pending}
        return tuple(gap for gap in pending if gap[1] == END or now - self._gaps[gap] < GAP_TIMEOUT)


async def _log(seal: Seal, entries: Sequence[AuditEntry]) -> None:
    log = structlog.get_logger()
    for place, entry in enumerate(entries):
        if place % _LOG_BATCH == _LOG_BATCH - 1:
            await asyncio.sleep(0)
        actor = entry.actor
        log.info(
            "audit",
            id=entry.id,
            occurred_at=entry.occurred_at.isoformat(),
            caller=actor.name,
            authenticator=actor.authenticator,
            roles=list(actor.roles),
            peer=actor.peer,
            operation=entry.operation,
            request_type=entry.request_type,
            request_id=entry.request_id,
            job_id=entry.job_id,
            plan_hash=entry.plan_hash,
            reason=entry.reason,
            allowed=entry.allowed,
            rule=actor.rule,
            call_id=actor.call_id,
            on_behalf_of=actor.on_behalf_of,
        )
    log.info(
        "audit log sealed",
        number=seal.number,
        entries=len(seal.audit_ids),
        first=seal.audit_ids[0],
        last=seal.audit_ids[-1],
        head=seal.head.hex(),
        key_id=seal.key_id,
        signature=seal.signature.hex(),
    )
