"""Expiry of claims on requests, measured by the monotonic clock of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from spincycle.request_manager.storage.model import Claim


class ClaimMonitor:
    """Records when this process first saw each claim.

    A claim that this process has seen for a whole lease has expired, even if the clock of the
    database was set back since it was made.

    Args:
        lease: seconds.
    """

    def __init__(self, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._clock = clock
        self._seen_at: dict[Claim, float] = {}

    def expired(self, claims: Sequence[Claim]) -> list[Claim]:
        """Record all current claims; return those that have expired, the oldest first."""
        now = self._clock()
        self._seen_at = {claim: self._seen_at.get(claim, now) for claim in claims}
        expired = [claim for claim, at in self._seen_at.items() if now - at >= self._lease]
        return sorted(expired, key=self._seen_at.__getitem__)
