"""Verifies the audit log: that entries and seals are as they were when they were sealed."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from spincycle.identity.signing_keys import VerifyingKey
from spincycle.request_manager.storage.audit_entry import AuditEntry
from spincycle.request_manager.storage.seal import (
    ALL_IDS,
    DIGEST_BYTES,
    END,
    NO_HEAD,
    Range,
    Seal,
    digest_of,
    head_of,
    signed_data,
)
from spincycle.request_manager.storage.seal_store import SealStore

MAX_PROBLEMS = 100
"""Most problems that are described; further ones are counted."""

_SEALS = 20
_IDS = 50_000


@dataclass(slots=True)
class Verification:
    """The result.

    Attributes:
        problems: descriptions of the first changes, oldest seal first.
        more_problems: number of further ones.
        seals: number of seals.
        entries: number of sealed entries that are as they were sealed.
        last: number of the last seal; 0 without one.
        head: its head.
        signed: number of the last seal with a valid signature; 0 without one.
        deleted_up_to: number of the last seal that `spincycle prune` deleted; 0 if it deleted none.
        unsealed: number of entries that are not sealed yet.
        first_unsealed: id of the first of them; 0 without one.
        unsealed_since: time of the first of them.
    """

    problems: list[str] = field(default_factory=list)
    more_problems: int = 0
    seals: int = 0
    entries: int = 0
    last: int = 0
    head: bytes = NO_HEAD
    signed: int = 0
    deleted_up_to: int = 0
    unsealed: int = 0
    first_unsealed: int = 0
    unsealed_since: datetime | None = None

    def add_problem(self, text: str) -> None:
        """Add the description of a change."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)
        else:
            self.more_problems += 1


class Verifier:
    """Verifies the audit log while it grows.

    Args:
        keys: public keys of which each signed head must be; without one, signatures are not
            verified.
        heads: heads that the chain must have, for example of the log.
    """

    def __init__(
        self, store: SealStore, keys: Sequence[VerifyingKey], heads: Collection[bytes] = ()
    ) -> None:
        self._store = store
        self._keys = {key.id: key for key in keys}
        self._wanted = set(heads)
        self._result = Verification()
        self._sealed = array("q")
        self._previous: bytes | None = NO_HEAD
        self._pending: tuple[Range, ...] = ALL_IDS

    async def verify(self) -> Verification:
        """Return the result.

        Raises:
            DatabaseUnavailable: the database is away.
        """
        result = self._result
        while seals := await self._store.seals(result.last, _SEALS):
            if not result.seals and seals[0].number > 1:
                await self._begin_after_deletion(seals[0].number)
            entries = await self._store.entries(
                [audit_id for seal in seals for audit_id in seal.audit_ids]
            )
            for seal in seals:
                self._check(seal, entries)
        if self._keys and result.signed < result.last:
            first = result.signed + 1
            result.add_problem(f"seals from number {first} on have no valid signature")
        for head in sorted(self._wanted):
            result.add_problem(f"no seal has the head {head.hex()}: seals were removed or replaced")
        await self._check_others()
        return result

    async def _begin_after_deletion(self, first: int) -> None:
        recorded = dict(await self._store.deletions())
        self._previous = recorded.get(first - 1)
        if self._previous is None:
            self._result.add_problem(
                f"the seals before number {first} are missing with their entries, and no entry "
                "records that they were deleted by `spincycle prune`"
            )
        else:
            self._result.deleted_up_to = first - 1
            self._wanted.discard(self._previous)
        self._result.last = first - 1

    def _check(self, seal: Seal, entries: Mapping[int, AuditEntry]) -> None:
        result = self._result
        missing = seal.number - result.last - 1
        if missing:
            result.add_problem(f"{missing} seals before number {seal.number} are missing")
            self._previous = None
        if self._previous is not None and seal.head != head_of(
            self._previous,
            seal.number,
            seal.audit_ids,
            seal.digests,
            seal.pending,
            seal.sealed_at,
        ):
            result.add_problem(
                f"seal {seal.number} was changed, or does not follow the one before it"
            )
        self._check_signature(seal)
        self._check_entries(seal, entries)
        self._wanted.discard(seal.head)
        self._previous, self._pending = seal.head, seal.pending
        result.seals += 1
        result.last, result.head = seal.number, seal.head

    def _check_signature(self, seal: Seal) -> None:
        if not self._keys or not seal.signature:
            return
        key = self._keys.get(seal.key_id)
        if key is None:
            self._result.add_problem(
                f"seal {seal.number} is signed by the key {seal.key_id}, which was not given"
            )
        elif not key.verifies(seal.signature, signed_data(seal.head)):
            self._result.add_problem(f"the signature of seal {seal.number} is not valid")
        else:
            self._result.signed = seal.number

    def _check_entries(self, seal: Seal, entries: Mapping[int, AuditEntry]) -> None:
        if len(seal.digests) != DIGEST_BYTES * len(seal.audit_ids):
            self._result.add_problem(f"seal {seal.number} was changed")
            return
        for place, audit_id in enumerate(seal.audit_ids):
            entry = entries.get(audit_id)
            if entry is None:
                self._result.add_problem(f"entry {audit_id} is missing (seal {seal.number})")
            elif digest_of(entry) != seal.digest(place):
                self._result.add_problem(f"entry {audit_id} was changed (seal {seal.number})")
            else:
                self._result.entries += 1
        self._sealed.extend(seal.audit_ids)

    async def _check_others(self) -> None:
        """Find entries that no seal has: those that may still be sealed, and inserted ones."""
        result = self._result
        sealed = array("q", sorted(self._sealed))
        self._sealed = sealed
        for place in range(1, len(sealed)):
            if sealed[place] == sealed[place - 1]:
                result.add_problem(f"entry {sealed[place]} is in two seals")
        after = 0
        while ids := await self._store.ids(after, END - 1, _IDS):
            after = ids[-1]
            for audit_id in ids:
                place = bisect_right(sealed, audit_id)
                if place and sealed[place - 1] == audit_id:
                    continue
                if self._is_pending(audit_id):
                    result.first_unsealed = result.first_unsealed or audit_id
                    result.unsealed += 1
                else:
                    result.add_problem(f"entry {audit_id} was inserted later: no seal has it")
        if result.first_unsealed:
            first = await self._store.entries([result.first_unsealed])
            if entry := first.get(result.first_unsealed):
                result.unsealed_since = entry.occurred_at

    def _is_pending(self, audit_id: int) -> bool:
        return any(start <= audit_id < end for start, end in self._pending)
