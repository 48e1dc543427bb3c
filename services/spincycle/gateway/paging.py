"""Streams a list as one JSON array, holding one page in memory at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from spincycle.gateway.http_messages import HttpResponse
from spincycle.rest_codec.encoding import Json, to_part, to_text


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a list.

    Attributes:
        elements: the encoded elements.
        next_token: token of the next page; empty if this is the last one.
    """

    elements: Sequence[Json]
    next_token: str


Fetch = Callable[[str], Awaitable[ListPage]]


async def joined(first: ListPage, fetch: Fetch, empty: bytes, limit: int = 0) -> HttpResponse:
    """Return all pages, or the first `limit` elements, as one array; `empty` if there are none."""
    if limit and len(first.elements) >= limit:
        first = ListPage(first.elements[:limit], "")
    if not first.elements and not first.next_token:
        return HttpResponse(empty + b"\n")
    if not first.next_token:
        return HttpResponse(to_text(list(first.elements)))
    return HttpResponse(_parts(first, fetch, empty, limit))


async def _parts(page: ListPage, fetch: Fetch, empty: bytes, limit: int) -> AsyncIterator[bytes]:
    written = 0
    while True:
        elements = page.elements[: limit - written] if limit else page.elements
        if elements:
            # The text of an array without its brackets.
            yield (b"," if written else b"[") + to_part(list(elements))[1:-1]
            written += len(elements)
        if not page.next_token or (limit and written >= limit):
            break
        page = await fetch(page.next_token)
    yield b"]\n" if written else empty + b"\n"
