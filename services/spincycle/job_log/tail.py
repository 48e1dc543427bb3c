"""Streams a journal: its stored entries, and new entries as they are appended."""

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
from spincycle.runtime.backoff import Backoff
from spincycle.v1.job_output_pb2 import JobOutput

RETRY_INTERVAL = 1.0
"""Maximum seconds between two reads of a follower during an outage of the database."""


class Tail:
    """Streams entries by position, and live output between them."""

    def __init__(self, journal: Journal, followers: Followers, output: OutputHub) -> None:
        self._journal = journal
        self._followers = followers
        self._output = output
        self._ending = False

    async def read(
        self, which: Selection, after: int
    ) -> AsyncGenerator[Sequence[JournalEntry], None]:
        """Yield the stored entries after a position, a page at a time.

        Raises:
            DatabaseUnavailable: not all entries could be read.
        """
        more = True
        while more:
            page, after = await self._journal.read_next(which, after)
            if page.entries:
                yield page.entries
            more = page.more

    async def follow(
        self, which: Selection, after: int
    ) -> AsyncGenerator[Sequence[JournalEntry], None]:
        """Yield the stored entries after a position, and then new entries.

        Raises:
            DatabaseUnavailable: the first read failed. During a later outage, the stream waits.
            ShuttingDown: `end` was called.
        """
        with self._followers.following(which.request_id) as changed:
            started = False
            backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
            while not self._ending:
                changed.clear()
                try:
                    page, after = await self._journal.read_next(which, after)
                except DatabaseUnavailable:
                    if not started:
                        raise
                    await _wait_for(changed, backoff.next())
                    continue
                started = True
                if page.entries:
                    yield page.entries
                if not page.more:
                    await changed.wait()
        raise ShuttingDown("the job log")

    async def follow_live(
        self, which: Selection, after: int
    ) -> AsyncGenerator[Sequence[JournalEntry | JobOutput], None]:
        """Like `follow`, and yield the output of running tries before the entry of each try."""
        ended: set[tuple[str, int]] = set()
        with self._output.subscribe(which.request_id, which.job_id) as tailer:
            async with aclosing(self.follow(which, after)) as entries:
                page = asyncio.ensure_future(anext(entries))
                output = asyncio.ensure_future(tailer.changed.wait())
                try:
                    while True:
                        await asyncio.wait({page, output}, return_when=asyncio.FIRST_COMPLETED)
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
                        if output.done():
                            output = asyncio.ensure_future(tailer.changed.wait())
                finally:
                    for task in (page, output):
                        task.cancel()
                    await asyncio.gather(page, output, return_exceptions=True)

    def end(self) -> None:
        """End the follow streams."""
        self._ending = True
        self._followers.wake_all()


async def _wait_for(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return
