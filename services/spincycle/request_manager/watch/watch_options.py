"""Options of a Watch call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What a Watch stream shows.

    Attributes:
        viewable_types: types of requests that the caller may view; None means all.
    """

    include_job_chain: bool = False
    requests_only: bool = False
    include_output: bool = False
    viewable_types: frozenset[str] | None = None
