"""Log of recent job events: retains them for a while and delivers them to readers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from spincycle.errors import WatcherTooSlow
from spincycle.job_runner.ports import ChainReleased, ChainStarted
from spincycle.model.job_status import JobEvent

RETAINED_EVENTS = 20_000
"""Events that are retained for readers that reconnect."""

RETENTION_AFTER_LAST = 60.0
"""Seconds for which events are still retained after the last reader disconnected."""

MAX_READER_BACKLOG = 20_000
"""Events that a reader may be behind before it is disconnected."""

RunnerEvent = JobEvent | ChainStarted | ChainReleased


@dataclass(frozen=True, slots=True)
class EncodedJobEvent:
    """An event, encoded once for all readers.

    Attributes:
        offset: rises by 1 with every event of the runner.
        sequence_number: number within the chain; see JobEvent.sequence_number.
    """

    offset: int
    request_id: str
    sequence_number: int
    encoded: bytes


@dataclass(slots=True)
class _RetainedChain:
    """Retained events of one chain: all that were published after sequence number `floor`."""

    epoch: int
    floor: int
    events: deque[EncodedJobEvent] = field(default_factory=deque)


class EventLogReader:
    """Bounded queue of the events that one reader has not consumed yet.

    `request_ids` selects the chains; empty selects all.
    """

    def __init__(self, request_ids: Iterable[str] = ()) -> None:
        self._request_ids = frozenset(request_ids)
        self._events: list[EncodedJobEvent] = []
        self._ready = asyncio.Event()
        self._overflowed = False

    def put(self, event: EncodedJobEvent) -> None:
        """Enqueue an event; on overflow drop the queue and disconnect the reader."""
        if self._overflowed or (self._request_ids and event.request_id not in self._request_ids):
            return
        if len(self._events) >= MAX_READER_BACKLOG:
            self._overflowed = True
            self._events.clear()
        else:
            self._events.append(event)
        self._ready.set()

    async def batches(self) -> AsyncIterator[Sequence[EncodedJobEvent]]:
        """Yield events as they arrive, all that are queued at a time.

        Raises:
            WatcherTooSlow: the queue overflowed.
        """
        while True:
            await self._ready.wait()
            self._ready.clear()
            if self._overflowed:
                raise WatcherTooSlow(MAX_READER_BACKLOG)
            events, self._events = self._events, []
            if events:
                yield events


class EventLog:
    """Delivers events to readers and retains recent ones in a ring buffer.

    It is enabled from the first reader until RETENTION_AFTER_LAST seconds after the last one.
    `encode` returns the bytes that readers are sent for an event and its offset.
    """

    def __init__(self, encode: Callable[[RunnerEvent, int], bytes]) -> None:
        self._encode = encode
        self._readers: set[EventLogReader] = set()
        self._ring: deque[EncodedJobEvent] = deque()
        self._chains: dict[str, _RetainedChain] = {}
        self._offset = 0
        self._floor = 0
        self._has_gap = False
        self._expiry: asyncio.TimerHandle | None = None
        self.enabled = False

    @property
    def offset(self) -> int:
        """Offset of the last event."""
        return self._offset

    def publish(self, event: JobEvent) -> None:
        """Publish a change of a job."""
        if self.enabled:
            self._append(event, event.job.request_id)

    def chain_started(self, chain: ChainStarted) -> None:
        """Publish the start of a chain."""
        self._has_gap = True
        if self.enabled:
            self._chains[chain.request_id] = _RetainedChain(chain.epoch, 0)
            self._append(chain, chain.request_id)

    def chain_released(self, chain: ChainReleased) -> None:
        """Publish the release of a chain."""
        if self.enabled:
            self._append(chain, chain.request_id)
            del self._chains[chain.request_id]

    def add(self, reader: EventLogReader) -> None:
        """Deliver events to a reader from now on."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if not self.enabled:
            self.enabled = True
            # Events were discarded meanwhile: no earlier offset can be resumed from.
            self._offset += self._has_gap
            self._floor = self._offset
        self._readers.add(reader)

    def remove(self, reader: EventLogReader) -> None:
        """Stop delivering events to a reader."""
        self._readers.discard(reader)
        if not self._readers and self._expiry is None:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(RETENTION_AFTER_LAST, self._expire)

    def events_after(self, offset: int) -> list[EncodedJobEvent] | None:
        """Return all events after an offset; None if some are no longer retained."""
        if not self._floor <= offset <= self._offset:
            return None
        first = len(self._ring) - (self._offset - offset)
        return [event for event in list(self._ring)[max(0, first) :] if event.offset > offset]

    def chain_events_after(
        self, request_id: str, epoch: int, sequence_number: int
    ) -> list[EncodedJobEvent] | None:
        """Return all events of a chain after a sequence number; None if some are not retained."""
        chain = self._chains.get(request_id)
        if chain is None or chain.epoch != epoch or chain.floor > sequence_number:
            return None
        return [event for event in chain.events if event.sequence_number > sequence_number]

    def retain_from(self, request_id: str, epoch: int, sequence_number: int) -> None:
        """Retain the chain's events from here on: a client has a view of it as of this number."""
        if self.enabled:
            self._chains.setdefault(request_id, _RetainedChain(epoch, sequence_number))

    def _append(self, event: RunnerEvent, request_id: str) -> None:
        self._offset += 1
        number = event.sequence_number
        encoded = EncodedJobEvent(
            self._offset, request_id, number, self._encode(event, self._offset)
        )
        self._ring.append(encoded)
        chain = self._chains.get(request_id)
        if chain is None:
            chain = self._chains[request_id] = _RetainedChain(event.epoch, number)
        chain.events.append(encoded)
        if len(self._ring) > RETAINED_EVENTS:
            self._drop_oldest()
        for reader in self._readers:
            reader.put(encoded)

    def _drop_oldest(self) -> None:
        oldest = self._ring.popleft()
        self._floor = oldest.offset
        chain = self._chains.get(oldest.request_id)
        if chain is not None and chain.events and chain.events[0] is oldest:
            chain.events.popleft()
            chain.floor = oldest.sequence_number

    def _expire(self) -> None:
        self._expiry = None
        self.enabled = False
        self._has_gap = True
        self._ring.clear()
        self._chains.clear()
