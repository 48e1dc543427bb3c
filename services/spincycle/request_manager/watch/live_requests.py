"""Live requests, read once for all subscribers that start together without a cursor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from spincycle.batching.single_flight import SingleFlight
from spincycle.model.state import LIVE
from spincycle.request_manager.storage.model import PagePosition, Request, RequestFilter
from spincycle.request_manager.storage.request_store import RequestStore

LIST_LIMIT = 1000
"""Most requests that one statement lists."""

PAGE_SIZE = 100
"""Requests per page."""


@dataclass(frozen=True, slots=True)
class LiveList:
    """The requests that were live when some subscribers started together, newest first.

    Attributes:
        number: number of the list, counted by this process.
    """

    number: int
    request_ids: tuple[str, ...]

    @property
    def pages(self) -> Iterator[tuple[str, ...]]:
        """The ids in order, page by page."""
        for start in range(0, len(self.request_ids), PAGE_SIZE):
            yield self.request_ids[start : start + PAGE_SIZE]


class LiveRequests:
    """Lists and reads live requests; concurrent callers share each statement.

    A subscriber holds the ids and the rows of one page only.
    """

    def __init__(self, store: RequestStore) -> None:
        self._store = store
        self._numbers = count(1)
        self._lists = SingleFlight[None, LiveList](self._list)
        self._pages = SingleFlight[tuple[str, ...], list[Request]](self._read)

    async def find(self) -> LiveList:
        """Return the requests that are live at this call, and perhaps later ones."""
        return await self._lists.get(None)

    async def read(self, page: tuple[str, ...]) -> list[Request]:
        """Return the current rows of a page."""
        return await self._pages.get(page)

    async def _list(self, _: None) -> LiveList:
        number = next(self._numbers)
        live = RequestFilter(states=tuple(sorted(LIVE)))
        ids: list[str] = []
        after: PagePosition | None = None
        while True:
            rows = await self._store.find(live, LIST_LIMIT, after=after, with_args=False)
            ids += [row.request_id for row in rows]
            if len(rows) < LIST_LIMIT:
                return LiveList(number, tuple(ids))
            after = PagePosition(rows[-1].created_at, rows[-1].request_id)

    async def _read(self, page: tuple[str, ...]) -> list[Request]:
        found = await self._store.get(page)
        return [found[request_id] for request_id in page if request_id in found]
