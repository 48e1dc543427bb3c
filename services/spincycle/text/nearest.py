"""The name that somebody probably meant."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOOKED_AT = 500


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`; None if none is like it.

    Only names of about the same length are looked at, and not more than 500 of them, so
    that a wrong name in a very large spec set costs no more than in a small one.
    """
    similar = (other for other in known if abs(len(other) - len(name)) <= 2 and other != name)
    matches = get_close_matches(name, islice(similar, _LOOKED_AT), n=1, cutoff=0.7)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question to append to a message, with a leading space; empty if nothing is like it."""
    meant = nearest(name, known)
    return f' (did you mean "{meant}"?)' if meant else ""
