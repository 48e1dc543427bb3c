"""Splitting of items that are too large to be read or written together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

PORTION_BYTES = 32 * 1024 * 1024
"""Most bytes of chains that are read or written together, unless one chain is larger."""


def in_portions(
    items: Iterable[Item], size_of: Callable[[Item], int], limit: int = PORTION_BYTES
) -> Iterator[list[Item]]:
    """Yield the items in order, in lists of at most `limit` bytes or of one larger item."""
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
