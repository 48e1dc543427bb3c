"""The chains that a runner answers for, and their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache

MOST_CACHED = 20_000


class HeldChains:
    """Chains from their acceptance until their end or their saved state is stored.

    Args:
        running: epochs of the chains that the runner has, by request id.
        reported: epochs of the chains whose end or saved state is still to be stored.
    """

    def __init__(
        self,
        running: Callable[[], Mapping[str, int]],
        reported: Callable[[], Mapping[str, int]],
    ) -> None:
        self._running = running
        self._reported = reported

    def epochs(self) -> dict[str, int]:
        """Epoch of each chain by request id."""
        return {**self._reported(), **self._running()}

    def digest(self) -> int:
        """HeartbeatRequest.chains_digest of the contract."""
        digest = 0
        for request_id, epoch in self.epochs().items():
            digest ^= _digest_of(request_id, epoch)
        return digest


@lru_cache(MOST_CACHED)
def _digest_of(request_id: str, epoch: int) -> int:
    # Against faults, not against attackers: PostgreSQL computes the same sum.
    summed = hashlib.md5(f"{request_id} {epoch}".encode(), usedforsecurity=False)
    return int.from_bytes(summed.digest()[:8])
