"""The chains that a runner holds, and their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache

from spincycle.identity.append_grants import AppendGrant

CACHED_DIGESTS = 20_000


class HeldChains:
    """Lists chains from their acceptance until their end or their saved state is stored.

    Args:
        running: returns the epochs of the runner's chains by request id.
        reported: returns the epochs of the chains whose end or saved state is not stored yet.
        grants: returns the grants that came with the runner's chains by request id.
    """

    def __init__(
        self,
        running: Callable[[], Mapping[str, int]],
        reported: Callable[[], Mapping[str, int]],
        grants: Callable[[], Mapping[str, AppendGrant]] = dict,
    ) -> None:
        self._running = running
        self._reported = reported
        self._grants = grants

    def epochs(self) -> dict[str, int]:
        """Return the epoch of each chain by request id."""
        return {**self._reported(), **self._running()}

    def grants(self) -> Mapping[str, AppendGrant]:
        """Return the grants that prove the assignments of running chains, by request id."""
        return self._grants()

    def digest(self) -> int:
        """Return HeartbeatRequest.chains_digest of the contract."""
        digest = 0
        for request_id, epoch in self.epochs().items():
            digest ^= _digest_of(request_id, epoch)
        return digest


@lru_cache(CACHED_DIGESTS)
def _digest_of(request_id: str, epoch: int) -> int:
    # Detects errors, not attacks: PostgreSQL computes the same value.
    summed = hashlib.md5(f"{request_id} {epoch}".encode(), usedforsecurity=False)
    return int.from_bytes(summed.digest()[:8])
