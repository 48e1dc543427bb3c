"""Seals of the audit log: digests of its entries in a chain of hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from spincycle.request_manager.storage.audit_entry import AuditEntry

DIGEST_BYTES = 32
"""Size of a digest and of a head."""

NO_HEAD = bytes(DIGEST_BYTES)
"""The head before the first seal."""

END = 2**63 - 1
"""Above every id."""

Range = tuple[int, int]
"""Ids from the first number up to, without, the second."""

ALL_IDS: tuple[Range, ...] = ((1, END),)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Seal:
    """A link of the chain.

    Attributes:
        number: 1 for the first seal, then without gaps.
        audit_ids: the entries that it seals, ascending.
        digests: digests of these entries, in the same order, joined.
        pending: ids that later seals may have, ascending. Other ids without an entry never had
            one, or had one that was deleted.
        sealed_at: time of the database.
        head: hash of the seal and of the head before it.
        key_id: id of the key that signed the head; empty if none did.
        signature: signature of `signed_data`; empty without a key.
    """

    number: int
    audit_ids: Sequence[int]
    digests: bytes
    pending: tuple[Range, ...]
    sealed_at: datetime
    head: bytes
    key_id: str = ""
    signature: bytes = b""

    def digest(self, place: int) -> bytes:
        """Return the digest of the entry at a place in `audit_ids`."""
        return self.digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]


def digest_of(entry: AuditEntry) -> bytes:
    """Return the digest of all columns of an entry."""
    actor = entry.actor
    columns = [
        entry.id,
        _microseconds(entry.occurred_at),
        actor.name,
        actor.authenticator,
        actor.roles,
        actor.peer,
        entry.operation,
        entry.request_type,
        entry.request_id,
        entry.job_id,
        entry.plan_hash,
        entry.reason,
        entry.allowed,
        actor.rule,
        actor.call_id,
        actor.on_behalf_of,
    ]
    return hashlib.sha256(orjson.dumps(columns)).digest()


def head_of(
    previous: bytes,
    number: int,
    audit_ids: Sequence[int],
    digests: bytes,
    pending: Sequence[Range],
    sealed_at: datetime,
) -> bytes:
    """Return the head of a seal, given the head before it."""
    parts = [
        previous.hex(),
        number,
        list(audit_ids),
        digests.hex(),
        list(pending),
        _microseconds(sealed_at),
    ]
    return hashlib.sha256(orjson.dumps(parts)).digest()


def signed_data(head: bytes) -> bytes:
    """Return what is signed of a head."""
    return b"spincycle audit head 1\n" + head


def remaining(pending: Sequence[Range], audit_ids: Sequence[int]) -> tuple[Range, ...]:
    """Return the pending ids without those that are sealed now, which are ascending."""
    found: list[Range] = []
    ids = iter(audit_ids)
    id_ = next(ids, END)
    for start, end in pending:
        while id_ < end:
            if start < id_:
                found.append((start, id_))
            start = id_ + 1
            id_ = next(ids, END)
        if start < end:
            found.append((start, end))
    return tuple(found)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
