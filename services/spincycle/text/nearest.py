"""Suggests the known names that are most similar to an unknown one."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_CANDIDATES = 500
"""Names that are compared at most."""

_MAX_DIFFERENCE = 2
_CUTOFF = 0.7


def is_comparable(name: str, other: str) -> bool:
    """Return whether two names are of about the same length, so that one can be a typo."""
    return abs(len(other) - len(name)) <= _MAX_DIFFERENCE


def most_similar(name: str, known: Iterable[str], limit: int) -> list[str]:
    """Return at most `limit` known names that are similar to `name`, the most similar first.

    Only names of about the same length are compared, at most 500 of them, so that the cost does not
    grow with the number of known names.
    """
    # Imported late: most commands of spinc suggest nothing.
    from difflib import get_close_matches

    similar = (other for other in known if is_comparable(name, other) and other != name)
    return get_close_matches(name, islice(similar, MAX_CANDIDATES), n=limit, cutoff=_CUTOFF)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most similar to `name`, as `most_similar`; None if none is similar."""
    return next(iter(most_similar(name, known, 1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question to append to a message, with a leading space; empty without a match."""
    suggestion = nearest(name, known)
    return f' (did you mean "{suggestion}"?)' if suggestion else ""
