"""How long one call may take, and how long to go on calling while nobody answers."""

from __future__ import annotations

import os
import random
import time

CALL_TIMEOUT = float(os.environ.get("SPINC_TIMEOUT", "5000")) / 1000
PATIENCE = float(os.environ.get("SPINC_PATIENCE", "60000")) / 1000
_LONGEST_PAUSE = 2.0


class Patience:
    """Counts the seconds since a service was last heard, and the pauses between attempts."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start over after a response."""
        self._until = time.monotonic() + PATIENCE
        self._pause = 0.1

    @property
    def is_over(self) -> bool:
        """Whether it is time to give up."""
        return time.monotonic() >= self._until

    def pause(self) -> float:
        """Seconds to wait before the next attempt: longer each time, and not all at once."""
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return self._pause * random.uniform(0.5, 1)
