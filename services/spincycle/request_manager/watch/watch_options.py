"""Options of a Watch call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What the events of a Watch stream include."""

    include_job_chain: bool = False
    requests_only: bool = False
    include_output: bool = False
