"""How long what may pass by itself is given."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.pod_state import DOUBTFUL, HOPELESS
from spincycle.model.duration import format_duration

if TYPE_CHECKING:
    from spincycle.kubernetes_jobs.pod_state import Standing

DOUBT = 120.0
"""Seconds that an image that cannot be pulled, or a container that cannot be made, is given."""


@dataclass(slots=True)
class StartDeadline:
    """Measures, from now on, how long a container has not been running, and why.

    Attributes:
        start_timeout: most seconds until the container runs.
        doubt: most seconds with a reason that mostly does not pass.
    """

    start_timeout: float
    doubt: float = DOUBT
    _waits_since: float = -1.0
    _doubts_since: float = -1.0

    def lost(self, standing: Standing) -> tuple[str, float | None]:
        """Why no more is waited, or "" and the seconds for which more is; None: for ever."""
        now = asyncio.get_running_loop().time()
        if not standing.waits:
            return "", None
        if standing.trouble in HOPELESS:
            return standing.text, None
        if self._waits_since < 0:
            self._waits_since = now
        # Between two tries to pull it an image is in no trouble for a moment.
        if standing.trouble in DOUBTFUL and self._doubts_since < 0:
            self._doubts_since = now
        left = self._waits_since + self.start_timeout - now
        limit = self.start_timeout
        if standing.trouble in DOUBTFUL and self._doubts_since + self.doubt - now < left:
            left, limit = self._doubts_since + self.doubt - now, self.doubt
        if left <= 0:
            return f"did not run within {format_duration(limit)}: {standing.text}", None
        return "", left
