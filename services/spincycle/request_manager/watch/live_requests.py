"""Requests that have not ended, for watchers that begin without a cursor: read for all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from spincycle.batching.single_flight import SingleFlight
from spincycle.model.state import LIVE
from spincycle.request_manager.storage.model import PagePosition, Request, RequestFilter
from spincycle.request_manager.storage.request_store import RequestStore

LISTED_AT_ONCE = 1000
"""Requests that are listed by one statement."""

PAGE = 100
"""Requests of a page, whose snapshots are made at once."""


@dataclass(frozen=True, slots=True)
class FirstRead:
    """The requests that had not ended when some watchers began together, newest first.

    Attributes:
        number: of the beginning, counted by this process.
    """

    number: int
    request_ids: tuple[str, ...]

    @property
    def pages(self) -> Iterator[tuple[str, ...]]:
        """Their ids in order, page by page."""
        for start in range(0, len(self.request_ids), PAGE):
            yield self.request_ids[start : start + PAGE]


class LiveRequests:
    """Lists live requests and reads them, with one statement for all watchers that wait for it.

    A watcher holds ids, and rows of one page only.
    """

    def __init__(self, store: RequestStore) -> None:
        self._store = store
        self._numbers = count(1)
        self._beginnings = SingleFlight[None, FirstRead](self._list)
        self._pages = SingleFlight[tuple[str, ...], list[Request]](self._read)

    async def begin(self) -> FirstRead:
        """Return the requests that have not ended when this is called, or that came since."""
        return await self._beginnings.get(None)

    async def read(self, page: tuple[str, ...]) -> list[Request]:
        """Return the requests of a page as they are now."""
        return await self._pages.get(page)

    async def _list(self, _: None) -> FirstRead:
        number = next(self._numbers)
        which = RequestFilter(states=tuple(sorted(LIVE)))
        ids: list[str] = []
        after: PagePosition | None = None
        while True:
            rows = await self._store.find(which, LISTED_AT_ONCE, after=after, with_args=False)
            ids += [row.request_id for row in rows]
            if len(rows) < LISTED_AT_ONCE:
                return FirstRead(number, tuple(ids))
            after = PagePosition(rows[-1].created_at, rows[-1].request_id)

    async def _read(self, page: tuple[str, ...]) -> list[Request]:
        found = await self._store.get(page)
        return [found[request_id] for request_id in page if request_id in found]
