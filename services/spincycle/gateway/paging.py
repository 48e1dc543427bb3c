"""A list out of pages, written while the pages come, one in memory at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from spincycle.gateway.exchange import HttpResponse
from spincycle.rest_codec.encoding import Json, to_part, to_text


@dataclass(frozen=True, slots=True)
class ListPage:
    """Some elements of a list, and the token of those that follow; empty if none do."""

    elements: Sequence[Json]
    following: str


Fetch = Callable[[str], Awaitable[ListPage]]


async def joined(first: ListPage, fetch: Fetch, empty: bytes, most: int = 0) -> HttpResponse:
    """One array of all pages, or of the first `most` elements; `empty` if there are none."""
    if most and len(first.elements) >= most:
        first = ListPage(first.elements[:most], "")
    if not first.elements and not first.following:
        return HttpResponse(empty + b"\n")
    if not first.following:
        return HttpResponse(to_text(list(first.elements)))
    return HttpResponse(_parts(first, fetch, empty, most))


async def _parts(page: ListPage, fetch: Fetch, empty: bytes, most: int) -> AsyncIterator[bytes]:
    written = 0
    while True:
        elements = page.elements[: most - written] if most else page.elements
        if elements:
            # The text of an array without its brackets.
            yield (b"," if written else b"[") + to_part(list(elements))[1:-1]
            written += len(elements)
        if not page.following or (most and written >= most):
            break
        page = await fetch(page.following)
    yield b"]\n" if written else empty + b"\n"
