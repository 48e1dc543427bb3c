"""Items too large to be written or read all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

PORTION_BYTES = 32 * 1024 * 1024
"""Size after which no further chain is read or written at once."""


def in_portions(
    items: Iterable[Item], size_of: Callable[[Item], int], limit: int = PORTION_BYTES
) -> Iterator[list[Item]]:
    """Yield the items in order, in lists of `limit` at most or of one larger item."""
    portion: list[Item] = []
    size = 0
    for item in items:
        if portion and size + size_of(item) > limit:
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += size_of(item)
    if portion:
        yield portion
