"""Suggests the known name that is most similar to an unknown one."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_CANDIDATES = 500


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most similar to `name`; None if none is similar.

    Only names of about the same length are compared, at most 500 of them, so that the cost does not
    grow with the number of known names.
    """
    similar = (other for other in known if abs(len(other) - len(name)) <= 2 and other != name)
    matches = get_close_matches(name, islice(similar, _MAX_CANDIDATES), n=1, cutoff=0.7)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question to append to a message, with a leading space; empty without a match."""
    suggestion = nearest(name, known)
    return f' (did you mean "{suggestion}"?)' if suggestion else ""
