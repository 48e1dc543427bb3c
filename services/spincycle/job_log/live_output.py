"""Output of running jobs on its way from runners to those who tail, over all job logs."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

from spincycle.errors import DatabaseUnavailable, ShuttingDown
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.v1 import job_output_pb2

ANNOUNCE_INTERVAL = 15.0
"""Seconds after which the other job logs are told again whose output is wanted here."""

FORGET_AFTER = 40.0
"""Seconds after which what another job log wanted is forgotten unless it is told again."""

MAX_BEHIND = 1024 * 1024
"""Bytes of output that one who tails may be behind; the oldest are dropped."""

RELAYED_AT_ONCE = 5_000
"""Bytes of output in one notification, which holds less than 8000."""

IDS_AT_ONCE = 200

PIECES_PER_TURN = 1000
"""Pieces that are delivered before the event loop gets to do something else."""

Tell = Callable[[str], Awaitable[None]]
"""Tells all job logs something; raises DatabaseUnavailable."""

Place = tuple[str, int, int]


class Tailer:
    """Output that one who tails has not taken yet."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._pieces: deque[job_output_pb2.JobOutput] = deque()
        self._size = 0
        self._seen: dict[Place, int] = {}
        self.news = asyncio.Event()

    def put(self, piece: job_output_pb2.JobOutput) -> None:
        """Add a piece; what was told before is cut off, and what does not fit is dropped."""
        if self._job_id not in ("", piece.job_id):
            return
        place = (piece.job_id, piece.try_number, piece.stream)
        known = self._seen.get(place, 0)
        end = piece.offset + len(piece.data)
        if end <= known:
            return
        if piece.offset < known:
            rest = job_output_pb2.JobOutput()
            rest.CopyFrom(piece)
            rest.data, rest.offset = piece.data[known - piece.offset :], known
            piece = rest
        self._seen[place] = end
        self._pieces.append(piece)
        self._size += len(piece.data)
        while self._size > MAX_BEHIND:
            self._size -= len(self._pieces.popleft().data)
        self.news.set()

    def take(self) -> list[job_output_pb2.JobOutput]:
        """All that waits."""
        self.news.clear()
        pieces, self._pieces, self._size = list(self._pieces), deque(), 0
        return pieces


class OutputHub:
    """Who wants which output, here and at other job logs, and the runners that have it.

    Job logs tell one another by notifications, only while somebody tails.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._name = secrets.token_hex(8)
        self._tailers: dict[str, set[Tailer]] = {}
        self._elsewhere: dict[str, dict[str, float]] = {}
        self._offers: set[_Offer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._announcing: asyncio.Task[None] | None = None
        self._ending = False

    @contextmanager
    def tailing(self, request_id: str, job_id: str) -> Iterator[Tailer]:
        """One who tails the output of a request, or of one job of it."""
        tailer = Tailer(job_id)
        self._tailers.setdefault(request_id, set()).add(tailer)
        self._want(again={request_id})
        self._later(self._say(f"want {self._name} {request_id}"))
        if self._announcing is None:
            self._announcing = asyncio.create_task(self._announce())
        try:
            yield tailer
        finally:
            self._tailers[request_id].discard(tailer)
            if not self._tailers[request_id]:
                del self._tailers[request_id]
            if not self._tailers and self._announcing is not None:
                self._announcing.cancel()
                self._announcing = None
            self._want()

    async def offered(
        self, requests: AsyncIterator[journal_pb2.OfferOutputRequest]
    ) -> AsyncGenerator[journal_pb2.OfferOutputResponse, None]:
        """Take what a runner sends; answer what is wanted of it.

        Raises:
            ShuttingDown: `end` was called.
        """
        offer = _Offer()
        self._offers.add(offer)
        reading = asyncio.create_task(self._read(requests))
        reading.add_done_callback(lambda _: offer.changed.set())
        offer.changed.set()
        try:
            while not reading.done() and not self._ending:
                await offer.changed.wait()
                offer.changed.clear()
                wanted = self._wanted()
                again, offer.again = offer.again & wanted, set()
                if wanted != offer.told or again:
                    offer.told = wanted
                    yield journal_pb2.OfferOutputResponse(
                        request_ids=wanted, replay_request_ids=again
                    )
        finally:
            self._offers.discard(offer)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if self._ending:
            raise ShuttingDown("the job log")

    def hear(self, told: str) -> None:
        """Take what a job log told."""
        what, _, rest = told.partition(" ")
        name, _, said = rest.partition(" ")
        if name == self._name:
            return
        if what in ("want", "still"):
            until = asyncio.get_running_loop().time() + FORGET_AFTER
            request_ids = set(said.split(","))
            new = request_ids if what == "want" else request_ids - self._elsewhere.keys()
            for request_id in request_ids:
                self._elsewhere.setdefault(request_id, {})[name] = until
            self._want(again=new)
        elif what == "piece":
            self._deliver(job_output_pb2.JobOutput.FromString(base64.b64decode(said)))

    def end(self) -> None:
        """End the streams."""
        self._ending = True
        for offer in self._offers:
            offer.changed.set()

    async def close(self) -> None:
        """End what goes on beside the streams."""
        tasks = [*self._tasks, *([self._announcing] if self._announcing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, requests: AsyncIterator[journal_pb2.OfferOutputRequest]) -> None:
        async for request in requests:
            for number, piece in enumerate(request.pieces, 1):
                if number % PIECES_PER_TURN == 0:
                    await asyncio.sleep(0)
                self._deliver(piece)
                if self._is_wanted_elsewhere(piece.request_id):
                    await self._relay(piece)
                elif piece.request_id not in self._tailers:
                    self._want()

    def _deliver(self, piece: job_output_pb2.JobOutput) -> None:
        for tailer in self._tailers.get(piece.request_id, ()):
            tailer.put(piece)

    async def _relay(self, piece: job_output_pb2.JobOutput) -> None:
        for start in range(0, len(piece.data), RELAYED_AT_ONCE):
            part = job_output_pb2.JobOutput()
            part.CopyFrom(piece)
            part.data = piece.data[start : start + RELAYED_AT_ONCE]
            part.offset = piece.offset + start
            text = base64.b64encode(part.SerializeToString()).decode()
            await self._say(f"piece {self._name} {text}")

    def _wanted(self) -> set[str]:
        return self._tailers.keys() | {
            request_id for request_id in self._elsewhere if self._is_wanted_elsewhere(request_id)
        }

    def _is_wanted_elsewhere(self, request_id: str) -> bool:
        until = self._elsewhere.get(request_id)
        if until is None:
            return False
        now = asyncio.get_running_loop().time()
        if max(until.values()) > now:
            return True
        del self._elsewhere[request_id]
        return False

    def _want(self, again: set[str] | None = None) -> None:
        for request_id in list(self._elsewhere):
            self._is_wanted_elsewhere(request_id)
        for offer in self._offers:
            offer.again |= again or set()
            offer.changed.set()

    async def _announce(self) -> None:
        while True:
            await asyncio.sleep(ANNOUNCE_INTERVAL)
            ids = list(self._tailers)
            for start in range(0, len(ids), IDS_AT_ONCE):
                named = ",".join(ids[start : start + IDS_AT_ONCE])
                await self._say(f"still {self._name} {named}")

    async def _say(self, what: str) -> None:
        try:
            await self._tell(what)
        except DatabaseUnavailable:
            return  # Live output is lost while nobody can be told; the journal is not.

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Offer:
    """The stream of one runner."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.told: set[str] = set()
        self.again: set[str] = set()
