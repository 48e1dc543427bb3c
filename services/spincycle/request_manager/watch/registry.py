"""The registry of subscriptions: which queue receives the events of which requests."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet

from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue
from spincycle.request_manager.watch.tracked_request import TrackedRequest, before_first_event


class SubscriptionRegistry:
    """Records subscribers, and the requests that are tracked for them.

    A subscriber by id receives the events of the requests that it named, a subscriber by filter
    those of all requests (the filter is applied later, see `filter_subscription`). A request is
    tracked as long as a subscriber needs its events.
    """

    def __init__(self) -> None:
        self._tracked: dict[str, TrackedRequest] = {}
        self._filter_subscribers: set[SubscriberQueue] = set()

    @property
    def filter_subscribers(self) -> AbstractSet[SubscriberQueue]:
        """Queues that receive the events of all requests."""
        return self._filter_subscribers

    @property
    def subscribers(self) -> AbstractSet[SubscriberQueue]:
        """Every queue that receives events."""
        return self._filter_subscribers.union(
            *(tracked.id_subscribers for tracked in self._tracked.values())
        )

    @property
    def tracked(self) -> Collection[TrackedRequest]:
        """The tracked requests."""
        return self._tracked.values()

    def get(self, request_id: str) -> TrackedRequest | None:
        """Return a tracked request."""
        return self._tracked.get(request_id)

    def is_watched(self, request_id: str) -> bool:
        """Return whether a subscriber needs the events of a request."""
        return bool(self._filter_subscribers) or request_id in self._tracked

    def has_untracked(self, request_ids: AbstractSet[str]) -> bool:
        """Return whether filter subscribers need a request that is not tracked yet."""
        return bool(self._filter_subscribers) and not self._tracked.keys() >= request_ids

    def subscribe(self, queue: SubscriberQueue, row: Request) -> None:
        """Send all further events of a request to a queue."""
        tracked = self._tracked.get(row.request_id)
        if tracked is None:
            # Filter subscribers have not received it yet, otherwise it would be tracked.
            known = before_first_event(row) if self._filter_subscribers else row
            tracked = TrackedRequest(known, runner_id=row.runner_id)
            self._tracked[row.request_id] = tracked
        tracked.id_subscribers.add(queue)

    def unsubscribe(self, queue: SubscriberQueue, request_ids: Iterable[str]) -> None:
        """Undo `subscribe` for these requests."""
        for request_id in request_ids:
            tracked = self._tracked.get(request_id)
            if tracked is not None:
                tracked.id_subscribers.discard(queue)
                self._drop_if_unwatched(tracked)

    def subscribe_filter(self, queue: SubscriberQueue) -> None:
        """Send all further events of all requests to a queue."""
        self._filter_subscribers.add(queue)

    def unsubscribe_filter(self, queue: SubscriberQueue) -> None:
        """Undo `subscribe_filter`."""
        self._filter_subscribers.discard(queue)
        if not self._filter_subscribers:
            for tracked in list(self._tracked.values()):
                self._drop_if_unwatched(tracked)

    def track_for_filters(self, tracked: TrackedRequest) -> None:
        """Track a request for filter subscribers; keep its delivery state if it is tracked."""
        self._tracked.setdefault(tracked.row.request_id, tracked).for_filters = True

    def release_from_filters(self, request_id: str) -> None:
        """Stop tracking a request for filter subscribers; it may have ended before they began."""
        tracked = self._tracked.get(request_id)
        if tracked is not None:
            tracked.for_filters = False
            self._drop_if_unwatched(tracked)

    def remove(self, request_id: str) -> None:
        """Stop tracking a request that has ended."""
        del self._tracked[request_id]

    def _drop_if_unwatched(self, tracked: TrackedRequest) -> None:
        needed_by_filters = tracked.for_filters and self._filter_subscribers
        if not tracked.id_subscribers and not needed_by_filters:
            del self._tracked[tracked.row.request_id]
