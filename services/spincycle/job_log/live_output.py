"""Forwards live output of running jobs from runners to subscribers, across all job logs."""

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
"""Seconds between two announcements of this job log's subscriptions to the other job logs."""

SUBSCRIPTION_TTL = 40.0
"""Seconds after which a subscription of another job log expires without an announcement."""

MAX_QUEUED_BYTES = 1024 * 1024
"""Bytes of output queued for one subscriber; older output is dropped."""

NOTIFICATION_BYTES = 4_500
"""Bytes of output in one notification, whose base64 payload is limited to 8000 bytes."""

IDS_PER_ANNOUNCEMENT = 200

PIECES_PER_TURN = 1000
"""Pieces that are delivered before other tasks of the event loop run."""

Publish = Callable[[str], Awaitable[None]]
"""Sends a notification to all job logs; raises DatabaseUnavailable."""

OutputKey = tuple[str, int, int]
"""Job id, try number and stream."""


class Tailer:
    """The output queue of one subscriber."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._pieces: deque[job_output_pb2.JobOutput] = deque()
        self._size = 0
        self._ends: dict[OutputKey, int] = {}
        self.changed = asyncio.Event()

    def put(self, piece: job_output_pb2.JobOutput) -> None:
        """Queue a piece without the part that was queued before; drop the oldest if it is full."""
        if self._job_id not in ("", piece.job_id):
            return
        key = (piece.job_id, piece.try_number, piece.stream)
        known = self._ends.get(key, 0)
        end = piece.offset + len(piece.data)
        if end <= known:
            return
        if piece.offset < known:
            rest = job_output_pb2.JobOutput()
            rest.CopyFrom(piece)
            rest.data, rest.offset = piece.data[known - piece.offset :], known
            piece = rest
        self._ends[key] = end
        self._pieces.append(piece)
        self._size += len(piece.data)
        while self._size > MAX_QUEUED_BYTES:
            self._size -= len(self._pieces.popleft().data)
        self.changed.set()

    def take(self) -> list[job_output_pb2.JobOutput]:
        """Remove and return all queued pieces."""
        self.changed.clear()
        pieces, self._pieces, self._size = list(self._pieces), deque(), 0
        return pieces


class OutputHub:
    """Connects subscribers of live output, here and at other job logs, with the runners' streams.

    Job logs exchange subscriptions and output by notifications, only while there are subscribers.
    """

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._name = secrets.token_hex(8)
        self._tailers: dict[str, set[Tailer]] = {}
        self._remote: dict[str, dict[str, float]] = {}
        self._offers: set[_Offer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._announcing: asyncio.Task[None] | None = None
        self._ending = False

    @contextmanager
    def subscribe(self, request_id: str, job_id: str) -> Iterator[Tailer]:
        """Subscribe to the output of a request, or of one of its jobs, for a `with` block."""
        tailer = Tailer(job_id)
        self._tailers.setdefault(request_id, set()).add(tailer)
        self._update_offers(resend={request_id})
        self._start(self._notify(f"want {self._name} {request_id}"))
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
            self._update_offers()

    async def receive(
        self, requests: AsyncIterator[journal_pb2.OfferOutputRequest]
    ) -> AsyncGenerator[journal_pb2.OfferOutputResponse, None]:
        """Receive a runner's output; yield the ids of the requests whose output is wanted.

        Raises:
            ShuttingDown: `end` was called.
            SpinCycleError: a message was refused.
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
                resend, offer.resend = offer.resend & wanted, set()
                if wanted != offer.sent or resend:
                    offer.sent = wanted
                    yield journal_pb2.OfferOutputResponse(
                        request_ids=wanted, replay_request_ids=resend
                    )
        finally:
            self._offers.discard(offer)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if self._ending:
            raise ShuttingDown("the job log")
        reading.result()

    def on_notification(self, payload: str) -> None:
        """Process a notification: "want", "still" or "piece", the sender's name, and content."""
        kind, _, rest = payload.partition(" ")
        name, _, content = rest.partition(" ")
        if name == self._name:
            return
        if kind in ("want", "still"):
            expiry = asyncio.get_running_loop().time() + SUBSCRIPTION_TTL
            request_ids = set(content.split(","))
            new = request_ids if kind == "want" else request_ids - self._remote.keys()
            for request_id in request_ids:
                self._remote.setdefault(request_id, {})[name] = expiry
            self._update_offers(resend=new)
        elif kind == "piece":
            self._deliver(job_output_pb2.JobOutput.FromString(base64.b64decode(content)))

    def end(self) -> None:
        """End the streams."""
        self._ending = True
        for offer in self._offers:
            offer.changed.set()

    async def close(self) -> None:
        """Cancel the background tasks."""
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
                if self._is_wanted_remotely(piece.request_id):
                    await self._relay(piece)
                elif piece.request_id not in self._tailers:
                    self._update_offers()

    def _deliver(self, piece: job_output_pb2.JobOutput) -> None:
        for tailer in self._tailers.get(piece.request_id, ()):
            tailer.put(piece)

    async def _relay(self, piece: job_output_pb2.JobOutput) -> None:
        for start in range(0, len(piece.data), NOTIFICATION_BYTES):
            part = job_output_pb2.JobOutput()
            part.CopyFrom(piece)
            part.data = piece.data[start : start + NOTIFICATION_BYTES]
            part.offset = piece.offset + start
            text = base64.b64encode(part.SerializeToString()).decode()
            await self._notify(f"piece {self._name} {text}")

    def _wanted(self) -> set[str]:
        return self._tailers.keys() | {
            request_id for request_id in self._remote if self._is_wanted_remotely(request_id)
        }

    def _is_wanted_remotely(self, request_id: str) -> bool:
        expiries = self._remote.get(request_id)
        if expiries is None:
            return False
        now = asyncio.get_running_loop().time()
        if max(expiries.values()) > now:
            return True
        del self._remote[request_id]
        return False

    def _update_offers(self, resend: set[str] | None = None) -> None:
        """Have the runners' streams send what is wanted; `resend` needs output from its start."""
        for request_id in list(self._remote):
            self._is_wanted_remotely(request_id)
        for offer in self._offers:
            offer.resend |= resend or set()
            offer.changed.set()

    async def _announce(self) -> None:
        while True:
            await asyncio.sleep(ANNOUNCE_INTERVAL)
            ids = list(self._tailers)
            for start in range(0, len(ids), IDS_PER_ANNOUNCEMENT):
                chunk = ",".join(ids[start : start + IDS_PER_ANNOUNCEMENT])
                await self._notify(f"still {self._name} {chunk}")

    async def _notify(self, payload: str) -> None:
        try:
            await self._publish(payload)
        except DatabaseUnavailable:
            return  # Live output is lost during an outage; the journal is not.

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Offer:
    """The stream of one runner: request ids last sent, and those whose output must be resent."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.sent: set[str] = set()
        self.resend: set[str] = set()
