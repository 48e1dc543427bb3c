"""Deadline for the start of a container."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.pod_state import PERMANENT_ERRORS, TRANSIENT_ERRORS
from spincycle.model.duration import format_duration

if TYPE_CHECKING:
    from spincycle.kubernetes_jobs.pod_state import ContainerStatus

ERROR_TIMEOUT = 120.0
"""Seconds for which an image pull or the creation of a container may keep failing."""


@dataclass(slots=True)
class StartDeadline:
    """Measures how long a container has not been running, and why.

    Attributes:
        start_timeout: maximum seconds until the container runs.
        error_timeout: maximum seconds after the first transient error.
    """

    start_timeout: float
    error_timeout: float = ERROR_TIMEOUT
    _waiting_since: float = -1.0
    _error_since: float = -1.0

    def check(self, status: ContainerStatus) -> tuple[str, float | None]:
        """Return the error if a deadline has passed, or "", and the remaining seconds.

        None instead of the seconds means no deadline.
        """
        now = asyncio.get_running_loop().time()
        if not status.waiting:
            return "", None
        if status.error_reason in PERMANENT_ERRORS:
            return status.text, None
        if self._waiting_since < 0:
            self._waiting_since = now
        # Not reset: between two pulls of an image the error disappears for a moment.
        if status.error_reason in TRANSIENT_ERRORS and self._error_since < 0:
            self._error_since = now
        limit = self.start_timeout
        remaining = self._waiting_since + limit - now
        if status.error_reason in TRANSIENT_ERRORS:
            until_error = self._error_since + self.error_timeout - now
            if until_error < remaining:
                limit, remaining = self.error_timeout, until_error
        if remaining <= 0:
            return f"did not run within {format_duration(limit)}: {status.text}", None
        return "", remaining
