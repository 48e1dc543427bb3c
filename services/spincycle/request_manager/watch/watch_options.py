"""What a watcher wants to see."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What a watcher wants to see."""

    include_job_chain: bool = False
    requests_only: bool = False
    include_output: bool = False
