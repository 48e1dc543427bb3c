"""Whoever watches jobs: events are kept for a while and handed on, and who is too slow is cut."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from spincycle.errors import WatcherTooSlow
from spincycle.job_runner.ports import ChainBegun, ChainLeft
from spincycle.model.job_status import JobEvent

HISTORY = 20_000
"""Events that are kept for those who come again."""

LINGER = 60.0
"""Seconds for which events are still kept when nobody watches any more."""

MAX_BEHIND = 20_000
"""Events that a watcher may be behind."""

Happening = JobEvent | ChainBegun | ChainLeft


@dataclass(frozen=True, slots=True)
class EncodedJobEvent:
    """An event that has happened, encoded once for all watchers.

    Attributes:
        order: rises with every event of the runner.
        number: see JobEvent.sequence_number.
    """

    order: int
    request_id: str
    number: int
    encoded: bytes


@dataclass(slots=True)
class _Kept:
    """Events of one chain that are kept: all of those after number `floor` that were told."""

    epoch: int
    floor: int
    events: deque[EncodedJobEvent] = field(default_factory=deque)


class EventLogReader:
    """Events that one watcher has not taken yet: of the named requests, or of all."""

    def __init__(self, request_ids: Iterable[str] = ()) -> None:
        self._of = frozenset(request_ids)
        self._events: list[EncodedJobEvent] = []
        self._something = asyncio.Event()
        self._cut = False

    def put(self, told: EncodedJobEvent) -> None:
        """Add an event; beyond the limit all of them are dropped and the watcher is cut."""
        if self._cut or (self._of and told.request_id not in self._of):
            return
        if len(self._events) >= MAX_BEHIND:
            self._cut = True
            self._events.clear()
        else:
            self._events.append(told)
        self._something.set()

    async def batches(self) -> AsyncIterator[Sequence[EncodedJobEvent]]:
        """Events as they come, all that wait at once.

        Raises:
            WatcherTooSlow: the watcher was cut.
        """
        while True:
            await self._something.wait()
            self._something.clear()
            if self._cut:
                raise WatcherTooSlow(MAX_BEHIND)
            events, self._events = self._events, []
            if events:
                yield events


class EventLog:
    """Hands events on. While nobody has watched for a minute, it wants none.

    `encode` makes an event, with its order, the bytes that watchers are sent.
    """

    def __init__(self, encode: Callable[[Happening, int], bytes]) -> None:
        self._encode = encode
        self._watchers: set[EventLogReader] = set()
        self._ring: deque[EncodedJobEvent] = deque()
        self._chains: dict[str, _Kept] = {}
        self._order = 0
        self._floor = 0
        self._missed = False
        self._forgetting: asyncio.TimerHandle | None = None
        self.wanted = False

    @property
    def order(self) -> int:
        """Order of the last event."""
        return self._order

    def publish(self, event: JobEvent) -> None:
        """A job has changed."""
        if self.wanted:
            self._tell(event, event.job.request_id)

    def begun(self, chain: ChainBegun) -> None:
        """A chain begins."""
        self._missed = True
        if self.wanted:
            self._chains[chain.request_id] = _Kept(chain.epoch, 0)
            self._tell(chain, chain.request_id)

    def left(self, chain: ChainLeft) -> None:
        """A chain is no longer here."""
        if self.wanted:
            self._tell(chain, chain.request_id)
            del self._chains[chain.request_id]

    def add(self, watcher: EventLogReader) -> None:
        """Let a watcher have what happens from now on."""
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
        if not self.wanted:
            self.wanted = True
            # Events went by untold, so none of the orders given before leads to here.
            self._order += self._missed
            self._floor = self._order
        self._watchers.add(watcher)

    def remove(self, watcher: EventLogReader) -> None:
        """Let a watcher go."""
        self._watchers.discard(watcher)
        if not self._watchers and self._forgetting is None:
            loop = asyncio.get_running_loop()
            self._forgetting = loop.call_later(LINGER, self._forget)

    def after(self, order: int) -> list[EncodedJobEvent] | None:
        """All events after one; None if not all of them are kept."""
        if not self._floor <= order <= self._order:
            return None
        first = len(self._ring) - (self._order - order)
        return [told for told in list(self._ring)[max(0, first) :] if told.order > order]

    def of_chain_after(
        self, request_id: str, epoch: int, number: int
    ) -> list[EncodedJobEvent] | None:
        """All events of a chain after one; None if not all of them are kept."""
        kept = self._chains.get(request_id)
        if kept is None or kept.epoch != epoch or kept.floor > number:
            return None
        return [told for told in kept.events if told.number > number]

    def described(self, request_id: str, epoch: int, number: int) -> None:
        """Somebody was told how a chain was at a number, and may come again from there."""
        if self.wanted:
            self._chains.setdefault(request_id, _Kept(epoch, number))

    def _tell(self, event: Happening, request_id: str) -> None:
        self._order += 1
        number = event.sequence_number
        told = EncodedJobEvent(self._order, request_id, number, self._encode(event, self._order))
        self._ring.append(told)
        kept = self._chains.get(request_id)
        if kept is None:
            kept = self._chains[request_id] = _Kept(event.epoch, number)
        kept.events.append(told)
        if len(self._ring) > HISTORY:
            self._drop_oldest()
        for watcher in self._watchers:
            watcher.put(told)

    def _drop_oldest(self) -> None:
        oldest = self._ring.popleft()
        self._floor = oldest.order
        kept = self._chains.get(oldest.request_id)
        if kept is not None and kept.events and kept.events[0] is oldest:
            kept.events.popleft()
            kept.floor = oldest.number

    def _forget(self) -> None:
        self._forgetting = None
        self.wanted = False
        self._missed = True
        self._ring.clear()
        self._chains.clear()
