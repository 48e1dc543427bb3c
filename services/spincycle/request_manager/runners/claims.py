"""How long requests have been claimed, measured by this request manager's monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from spincycle.request_manager.storage.model import Claim


class ClaimMonitor:
    """Remembers when this process first saw each claim.

    A claim that this process has seen for the whole lease has ended, however the database's clock
    was set since it was made.
    """

    def __init__(self, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._clock = clock
        self._seen_at: dict[Claim, float] = {}

    def ended(self, claims: Sequence[Claim]) -> list[Claim]:
        """Note all claims that there are; return those that have ended, the oldest first."""
        now = self._clock()
        self._seen_at = {claim: self._seen_at.get(claim, now) for claim in claims}
        ended = [claim for claim, at in self._seen_at.items() if now - at >= self._lease]
        return sorted(ended, key=self._seen_at.__getitem__)
