"""Discovery of the requests and runners that a changed row introduces."""

from __future__ import annotations

from collections.abc import Sequence

from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.watch.registry import SubscriptionRegistry
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.tracked_request import TrackedRequest, before_first_event


class RequestDiscovery:
    """Tracks new requests for filter subscribers and opens the streams of new runners."""

    def __init__(
        self, store: ChangeStore, feeds: RunnerFeeds, registry: SubscriptionRegistry
    ) -> None:
        self._store = store
        self._feeds = feeds
        self._registry = registry

    async def on_changes(self, rows: Sequence[Request], *, resync: bool) -> None:
        """Prepare for events of changed requests. See ChangeListener.

        Raises:
            DatabaseUnavailable: runners or arguments cannot be read.
        """
        if resync:
            await self._feeds.refresh(reload=True)
        await self._feeds.ensure_feeds(rows)
        registry = self._registry
        has_filters = bool(registry.filter_subscribers)
        new: list[Request] = []
        for row in rows:
            tracked = registry.get(row.request_id)
            if tracked is not None:
                tracked.for_filters |= has_filters
                tracked.runner_id = row.runner_id or tracked.runner_id
            elif has_filters:
                new.append(row)
        args = await self._store.args([row.request_id for row in new]) if new else {}
        for row in new:
            registry.track_for_filters(
                TrackedRequest(
                    before_first_event(row),
                    runner_id=row.runner_id,
                    args=args.get(row.request_id),
                )
            )
