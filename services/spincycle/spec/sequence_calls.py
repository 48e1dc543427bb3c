"""Checks across sequences: who calls whom, and what is passed back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spincycle.spec.finding import Report
    from spincycle.spec.model import Sequence


def check_calls(sequences: Mapping[str, Sequence], report: Report) -> None:
    """Run every check that looks at several sequences."""
