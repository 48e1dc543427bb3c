"""Environment of the tries of one runner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spincycle.job_runner.outcome import OutputLimits
from spincycle.runtime.log_scrubber import LogScrubber

if TYPE_CHECKING:
    from spincycle.job import Job
    from spincycle.job_runner.threads import Threads


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """How long a job may take to stop.

    Attributes:
        grace: seconds from the call of `stop` until the job is cancelled. A job on a thread
            cannot be cancelled and is abandoned then.
        cancel_grace: seconds from the cancellation until the job is abandoned.
    """

    grace: float = 10.0
    cancel_grace: float = 2.0


@dataclass(frozen=True, slots=True)
class TryEnvironment:
    """Threads, limits and services that all tries of one runner share.

    Attributes:
        threads: threads for blocking jobs.
        abandoned_tasks: tasks of abandoned jobs; the references keep them from being collected.
        log_scrubber: removes the secrets of the chains whose jobs ran from log lines.
        is_blocked_by: returns whether a job blocks the event loop, or did until just now.
    """

    threads: Threads
    stop_policy: StopPolicy = field(default_factory=StopPolicy)
    limits: OutputLimits = field(default_factory=OutputLimits)
    abandoned_tasks: set[asyncio.Task[None]] = field(default_factory=set)
    log_scrubber: LogScrubber = field(default_factory=LogScrubber)
    is_blocked_by: Callable[[Job], bool] = lambda _: False
