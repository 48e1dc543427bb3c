"""Publish/subscribe for changes of requests, within a process."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Subscriber = Callable[[str], None]
"""Called with the id of a request that changed, or with RESYNC; must not block."""

RESYNC = ""
"""In place of a request id: any request may have changed, or the runners have."""


class ChangeBus:
    """Delivers the ids of changed requests to subscribers in this process.

    What this process publishes is also passed to the one forwarder, for the other processes.
    """

    def __init__(self) -> None:
        self._by_request: dict[str, set[Subscriber]] = {}
        self._to_all: set[Subscriber] = set()
        self._on_resync: list[Callable[[], None]] = []
        self._forward: Callable[[list[str]], None] | None = None

    def subscribe(self, subscriber: Subscriber, request_ids: Iterable[str] = ()) -> None:
        """Call `subscriber` at each change of these requests; of all requests without ids."""
        ids = list(request_ids)
        if not ids:
            self._to_all.add(subscriber)
        for request_id in ids:
            self._by_request.setdefault(request_id, set()).add(subscriber)

    def unsubscribe(self, subscriber: Subscriber, request_ids: Iterable[str] = ()) -> None:
        """Undo `subscribe` with the same arguments."""
        ids = list(request_ids)
        if not ids:
            self._to_all.discard(subscriber)
        for request_id in ids:
            subscribers = self._by_request.get(request_id, set())
            subscribers.discard(subscriber)
            if not subscribers:
                self._by_request.pop(request_id, None)

    def on_resync(self, call: Callable[[], None]) -> None:
        """Call `call` at each RESYNC, in the order of these calls; it must not block."""
        self._on_resync.append(call)

    def forward_to(self, forward: Callable[[list[str]], None]) -> None:
        """Pass the ids of every `publish` to `forward`, too."""
        self._forward = forward

    def publish(self, request_ids: Iterable[str]) -> None:
        """Deliver and forward requests that this process changed."""
        ids = list(request_ids)
        self.deliver(ids)
        if self._forward and ids:
            self._forward(ids)

    def deliver(self, request_ids: Iterable[str]) -> None:
        """Deliver requests that another process changed."""
        for request_id in request_ids:
            if request_id == RESYNC:
                self._resynced()
            for subscriber in (*self._by_request.get(request_id, ()), *self._to_all):
                subscriber(request_id)

    def resync(self) -> None:
        """Have every subscriber check for changes: some of other processes may be lost."""
        self._resynced()
        for subscriber in self._to_all:
            subscriber(RESYNC)
        self.deliver(list(self._by_request))

    def _resynced(self) -> None:
        for call in self._on_resync:
            call()
