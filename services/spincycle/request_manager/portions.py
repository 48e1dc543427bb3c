"""Items too large to be written or read all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

PORTION_BYTES = 32 * 1024 * 1024
"""Size after which no further chain is read or written at once."""


def in_portions(items: Sequence[Item], size_of: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield the items in order, in lists of at most PORTION_BYTES or of one larger item."""
    portion: list[Item] = []
    size = 0
    for item in items:
        if portion and size + size_of(item) > PORTION_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += size_of(item)
    if portion:
        yield portion
