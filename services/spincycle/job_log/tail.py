"""Reading a journal to its end, and on as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from spincycle.errors import DatabaseUnavailable, ShuttingDown
from spincycle.job_log.followers import Followers
from spincycle.job_log.journal import Journal
from spincycle.job_log.live_output import OutputHub
from spincycle.job_log.model import Selection
from spincycle.model.journal_entry import JournalEntry
from spincycle.v1.job_output_pb2 import JobOutput

RETRY_INTERVAL = 1.0
"""Seconds after which a follower looks again while the database is away."""


class Tail:
    """Streams of entries by position, and of live output between them."""

    def __init__(self, journal: Journal, followers: Followers, output: OutputHub) -> None:
        self._journal = journal
        self._followers = followers
        self._output = output
        self._ending = False

    async def read(
        self, which: Selection, after: int
    ) -> AsyncGenerator[Sequence[JournalEntry], None]:
        """Return the stored entries after a position, a page at a time.

        Raises:
            DatabaseUnavailable: not all could be read; those that came are in order.
        """
        more = True
        while more:
            page, after = await self._journal.read_on(which, after)
            if page.entries:
                yield page.entries
            more = page.more

    async def follow(
        self, which: Selection, after: int
    ) -> AsyncGenerator[Sequence[JournalEntry], None]:
        """Return the stored entries after a position, and then those journalled later.

        Raises:
            DatabaseUnavailable: the database is away from the beginning. When it goes away
                later, the stream waits.
            ShuttingDown: `end` was called.
        """
        with self._followers.following(which.request_id) as news:
            begun = False
            while not self._ending:
                news.clear()
                try:
                    page, after = await self._journal.read_on(which, after)
                except DatabaseUnavailable:
                    if not begun:
                        raise
                    await _either(news, RETRY_INTERVAL)
                    continue
                begun = True
                if page.entries:
                    yield page.entries
                if not page.more:
                    await news.wait()
        raise ShuttingDown("the job log")

    async def follow_live(
        self, which: Selection, after: int
    ) -> AsyncGenerator[Sequence[JournalEntry | JobOutput], None]:
        """Return what `follow` does, and the output of running tries before their entries."""
        ended: set[tuple[str, int]] = set()
        with self._output.tailing(which.request_id, which.job_id) as tailer:
            async with aclosing(self.follow(which, after)) as entries:
                page = asyncio.ensure_future(anext(entries))
                news = asyncio.ensure_future(tailer.news.wait())
                try:
                    while True:
                        await asyncio.wait({page, news}, return_when=asyncio.FIRST_COMPLETED)
                        pieces = [
                            piece
                            for piece in tailer.take()
                            if (piece.job_id, piece.try_number) not in ended
                        ]
                        if pieces:
                            yield pieces
                        if page.done():
                            finished = page.result()
                            ended.update((entry.job_id, entry.try_) for entry in finished)
                            yield finished
                            page = asyncio.ensure_future(anext(entries))
                        if news.done():
                            news = asyncio.ensure_future(tailer.news.wait())
                finally:
                    for task in (page, news):
                        task.cancel()
                    await asyncio.gather(page, news, return_exceptions=True)

    def end(self) -> None:
        """End the streams that follow."""
        self._ending = True
        self._followers.wake_all()


async def _either(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return
