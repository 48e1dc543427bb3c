"""Checks of one sequence and its nodes, each by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spincycle.spec.finding import Report
    from spincycle.spec.model import Sequence


def check_sequence(
    sequence: Sequence,
    sequences: Mapping[str, Sequence],
    job_types: frozenset[str] | None,
    report: Report,
) -> None:
    """Run every check on one sequence."""
