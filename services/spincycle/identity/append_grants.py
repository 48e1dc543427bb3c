"""Grants that entitle one runner to append the journal entries of one assignment."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AppendGrant:
    """A grant.

    Attributes:
        key_id: id of the key with which it was made.
        code: its message authentication code.
    """

    request_id: str
    epoch: int
    key_id: str
    code: bytes


class GrantKeys:
    """The keys that request managers and job logs share.

    Args:
        keys: keys by id; the first one signs, all of them verify.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)
        self._signing = next(iter(self._keys))

    def grant(self, request_id: str, epoch: int, runner: str) -> AppendGrant:
        """Return the grant for an assignment to the runner with this SPIFFE ID."""
        code = _code(self._keys[self._signing], request_id, epoch, runner)
        return AppendGrant(request_id, epoch, self._signing, code)

    def verify(self, grant: AppendGrant, runner: str) -> str:
        """Return the problem of a grant that this runner shows; "" for a valid one."""
        key = self._keys.get(grant.key_id)
        if key is None:
            return f'there is no grant key "{grant.key_id}"'
        code = _code(key, grant.request_id, grant.epoch, runner)
        if not hmac.compare_digest(code, grant.code):
            return "the grant is not for this runner, request and epoch"
        return ""


def _code(key: bytes, request_id: str, epoch: int, runner: str) -> bytes:
    parts = request_id.encode(), str(epoch).encode(), runner.encode()
    # With lengths, so that no two triples have the same message.
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(key, message, hashlib.sha256)
