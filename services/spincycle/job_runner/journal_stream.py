"""The way of entries into the job log: one stream, batches up, acknowledgements down."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import structlog

from spincycle.errors import EntryConflict, InvalidEntry, SpinCycleError, StaleEpoch
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.job_runner.ports import CommitListener
from spincycle.model.journal_entry import JournalEntry
from spincycle.rpc.channel import Dial, open_channel
from spincycle.runtime.backoff import Backoff
from spincycle.v1 import job_log_pb2
from spincycle.wire.journal import encode_entry

MAX_BATCH = 500
"""Most entries in one batch."""

MAX_BATCH_BYTES = 4 * 1024 * 1024
"""Size after which a batch takes no further entry."""

MAX_BACKLOG_BYTES = 64 * 1024 * 1024
"""Size of what waits at which no further chain should be begun."""

SETTLE = 4
"""Turns of the event loop at most from the wish to send to the sending. What an acknowledgement
sets in motion (a dependent job starts, does next to nothing, and has an entry of its own) takes two
or three; so the entries of all chains travel together, not those of each behind those of another.
Once as many entries wait as the last batch held, nobody is likely to be missing."""

FIRST_RETRY = 0.1
LAST_RETRY = 2.0
"""Seconds before a broken stream is opened again: doubled from the first to the last."""

Identity = tuple[str, str, int]


@dataclass(slots=True)
class _Waiting:
    """An entry that is not acknowledged."""

    entry: job_log_pb2.JobLog
    author: CommitListener
    since: float
    size: int

    @property
    def identity(self) -> Identity:
        return self.entry.request_id, self.entry.job_id, getattr(self.entry, "try")


@dataclass(slots=True)
class _Stream:
    """One life of the stream."""

    batches: int = 0
    sent: dict[int, list[_Waiting]] = field(default_factory=dict)


class JournalStream:
    """Appends entries, in order, for as long as it takes.

    What is sent and not acknowledged when the stream breaks is sent again on the next one;
    the job log takes an entry only once.
    """

    def __init__(self, address: str, dial: Dial = open_channel) -> None:
        self._address = address
        self._channel = dial(address)
        self._stub = JournalServiceStub(self._channel)
        self._waiting: deque[_Waiting] = deque()
        self._backlog = 0
        self._stream = _Stream()
        self._something = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: list[Callable[[], None]] = []

    def append(self, entry: JournalEntry, author: CommitListener) -> None:
        """Take an entry, and tell its author when it is committed, or refused.

        Refused is StaleEpoch if another runner has the request now, and EntryConflict or
        InvalidEntry if the job log will never take the entry.
        """
        if self._loop is None:
            # Asking which loop runs is a system call, and this is done for every job.
            self._loop = asyncio.get_running_loop()
        message = encode_entry(entry)
        waiting = _Waiting(message, author, self._loop.time(), message.ByteSize())
        self._waiting.append(waiting)
        self._backlog += waiting.size
        self._something.set()

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing should be begun that adds to it."""
        return self._backlog >= MAX_BACKLOG_BYTES

    def on_room(self, listener: Callable[[], None]) -> None:
        """Have `listener` called when it is no longer full."""
        self._listeners.append(listener)

    @property
    def oldest_unacknowledged(self) -> float:
        """Seconds that the oldest entry has been waiting; 0 if none does."""
        since = [batch[0].since for batch in self._stream.sent.values()]
        since += [self._waiting[0].since] if self._waiting else []
        return asyncio.get_running_loop().time() - min(since) if since else 0.0

    async def run(self) -> None:
        """Keep a stream open and send what is appended, until cancelled."""
        log = structlog.get_logger()
        backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        while True:
            call = self._stub.Append(wait_for_ready=True)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._send(call))
                    group.create_task(self._receive(call))
            except* (grpc.aio.AioRpcError, asyncio.InvalidStateError, ConnectionError) as failures:
                log.warning("journal stream broke", cause=_cause(failures.exceptions[0]))
            finally:
                call.cancel()
                if self._stream.batches:
                    backoff.reset()
                self._take_back()
            await backoff.wait()

    async def close(self) -> None:
        """Close the channel; what is not acknowledged stays so."""
        await self._channel.close()

    async def _send(
        self,
        call: grpc.aio.StreamStreamCall[journal_pb2.AppendRequest, journal_pb2.AppendResponse],
    ) -> None:
        expected = 0
        while True:
            await self._something.wait()
            if not self._waiting or self._stream.sent:
                self._something.clear()
                continue
            for _ in range(SETTLE):
                if len(self._waiting) >= expected:
                    break
                await asyncio.sleep(0)
            batch = self._next_batch()
            expected = len(batch)
            self._stream.batches += 1
            number = self._stream.batches
            self._stream.sent[number] = batch
            await call.write(
                journal_pb2.AppendRequest(
                    batch=number, entries=[waiting.entry for waiting in batch]
                )
            )

    async def _receive(
        self,
        call: grpc.aio.StreamStreamCall[journal_pb2.AppendRequest, journal_pb2.AppendResponse],
    ) -> None:
        async for response in call:
            refused = {
                (refusal.request_id, refusal.job_id, getattr(refusal, "try")): refusal
                for refusal in response.refused
            }
            was_full = self.full
            for number in [number for number in self._stream.sent if number <= response.batch]:
                _tell(self._stream.sent[number], refused)
                # Only now: what nobody was told of is sent, and told, again.
                self._backlog -= sum(waiting.size for waiting in self._stream.sent.pop(number))
            self._something.set()
            if was_full and not self.full:
                for listener in self._listeners:
                    listener()
        raise ConnectionError("the job log ended the stream")

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            waiting = self._waiting.popleft()
            batch.append(waiting)
            size += waiting.size
        return batch

    def _take_back(self) -> None:
        sent = [waiting for batch in self._stream.sent.values() for waiting in batch]
        self._waiting.extendleft(reversed(sent))
        self._stream = _Stream()
        self._something.set()


def _tell(batch: list[_Waiting], refused: dict[Identity, journal_pb2.RefusedEntry]) -> None:
    """Tell the authors of a batch, once each, since the last entry of each says it all."""
    committed: dict[CommitListener, int] = {}
    for waiting in batch:
        refusal = refused.get(waiting.identity) if refused else None
        if refusal is None:
            committed[waiting.author] = waiting.entry.position
        else:
            waiting.author.refused(_error(refusal, waiting.entry.epoch))
    for author, position in committed.items():
        author.committed(position)


def _error(refusal: journal_pb2.RefusedEntry, epoch: int) -> SpinCycleError:
    try_number = getattr(refusal, "try")
    if refusal.error.reason == "STALE_EPOCH":
        return StaleEpoch(refusal.request_id, epoch, refusal.current_epoch)
    if refusal.error.reason == "ENTRY_CONFLICT":
        return EntryConflict(refusal.request_id, refusal.job_id, try_number)
    return InvalidEntry(refusal.request_id, refusal.job_id, refusal.error.message)


def _cause(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.details() or error.code().name
    return str(error)
