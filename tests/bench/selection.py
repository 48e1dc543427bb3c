"""Selects shapes of requests by name.

Imports nothing outside the standard library: `tests.bench.older_harness` loads this file into the
harness of another commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar


class Named(Protocol):
    """Has the name that reports use."""

    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=Named)


def select(counts: Mapping[S, Mapping[int, int]], names: Iterable[str]) -> dict[S, dict[int, int]]:
    """Return the requests per run, by shape and requests in flight, of the named figures only.

    Args:
        counts: all of them.
        names: each the name of a shape, such as "one no-op", or that and the requests in flight,
            such as "one no-op @ 64". Names that `counts` does not have are ignored, since a
            commit may lack a shape that the other commit has.
    """
    wanted = {name.strip() for name in names}
    selected = {
        shape: {
            in_flight: count
            for in_flight, count in per_run.items()
            if wanted & {shape.name, f"{shape.name} @ {in_flight}"}
        }
        for shape, per_run in counts.items()
    }
    return {shape: per_run for shape, per_run in selected.items() if per_run}
