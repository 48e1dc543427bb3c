"""From the cursor of a stream of all requests to where this request manager is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from spincycle.errors import CursorTooOld
from spincycle.request_manager.change_store import Changed, ChangeStore, Seen
from spincycle.request_manager.cursor import Cursor, orders_text, seen_text
from spincycle.request_manager.feeds import Feeds
from spincycle.request_manager.hub import Hub
from spincycle.request_manager.model import Request
from spincycle.request_manager.store import RequestStore
from spincycle.request_manager.told import Change, job_change
from spincycle.request_manager.tracked import begun, row_revision
from spincycle.request_manager.views import Views
from spincycle.request_manager.watcher import Watcher
from spincycle.revision import revision_of
from spincycle.state import FINAL, State
from spincycle.v1 import event_pb2


@dataclass(frozen=True, slots=True)
class Stores:
    """Where requests and their changes are read."""

    requests: RequestStore
    changes: ChangeStore


MAX_CHANGED = 10_000
"""Requests that may have changed since a cursor."""

PATIENCE = 3.0
"""Seconds that this request manager has to hear of runners what another one has heard."""


class CatchingUp:
    """Tells what was missed: what runners still know step by step, and the rest as snapshots.

    A runner that lives and no longer knows all of it makes the cursor too old.
    """

    def __init__(self, hub: Hub, stores: Stores, feeds: Feeds, views: Views) -> None:
        self._hub = hub
        self._stores = stores
        self._feeds = feeds
        self._views = views

    async def run(self, watcher: Watcher, after: Cursor, text: str) -> AsyncIterator[Change]:
        """All that was told after a cursor, up to the mark that this puts to the watcher.

        Raises:
            CursorTooOld: too much has happened since, or it is of another database.
        """
        until = await self._mark(watcher, after, text)
        if _last(after.seen) > _last(until.seen):
            raise CursorTooOld(text)
        _, changed = await self._stores.changes.after(
            after.seen, until.seen.snapshot, MAX_CHANGED + 1
        )
        if len(changed) > MAX_CHANGED:
            raise CursorTooOld(text)
        told: dict[str, list[event_pb2.JobEvent]] = {}
        for runner_id, order in until.orders.items():
            known = after.orders.get(runner_id)
            events = await self._feeds.missed(runner_id, known or 0, order)
            if events is not None:
                told[runner_id] = events
            elif known is not None:
                raise CursorTooOld(text)
        rows = await self._rows(told, changed)
        orders = {id_: order for id_, order in after.orders.items() if id_ in told}
        new = {one.request.request_id for one in changed}
        for runner_id, events in told.items():
            async for change in self._steps(runner_id, events, rows, new, after.seen, orders):
                yield change
        # One whose first changes were told out of their order has no place to go on from.
        exact = not after.seen.half
        async for change in self._changes(changed, set(told), after.seen, until, exact=exact):
            yield change
        async for change in self._uncovered(set(told), new):
            yield change

    async def _mark(self, watcher: Watcher, after: Cursor, text: str) -> Cursor:
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while not self._hub.is_as_far_as(after.orders) or any(
            self._feeds.knows(runner_id) and not self._feeds.hears(runner_id)
            for runner_id in after.orders
        ):
            if loop.time() > end:
                break
            await asyncio.sleep(0.02)
        if not self._hub.is_as_far_as(after.orders):
            raise CursorTooOld(text)
        return await self._hub.mark(watcher)

    async def _rows(
        self, told: Mapping[str, list[event_pb2.JobEvent]], changed: list[Changed]
    ) -> dict[str, Request]:
        rows = {one.request.request_id: one.request for one in changed}
        named = {event.request_id for events in told.values() for event in events}
        return await self._stores.requests.get(list(named - rows.keys())) | rows

    async def _steps(
        self,
        runner_id: str,
        events: list[event_pb2.JobEvent],
        rows: Mapping[str, Request],
        changed: set[str],
        seen: Seen,
        orders: dict[str, int],
    ) -> AsyncIterator[Change]:
        for event in events:
            orders[runner_id] = event.order
            cursor = seen_text(seen) + orders_text(orders)
            row = rows.get(event.request_id)
            if row is None or (row.state in FINAL and event.request_id not in changed):
                continue  # Its end was told before the cursor.
            running = begun(row, event, runner_id, self._feeds.address(runner_id))
            if event.moment == event_pb2.CHAIN_MOMENT_BEGUN:
                at = revision_of(event.epoch, event.sequence_number)
                view = await self._views.stored(running, at)
                yield view.snapshot_change(State.PENDING, cursor)
            elif event.moment == event_pb2.CHAIN_MOMENT_UNSPECIFIED:
                yield job_change(running, event, counted=True, cursor=cursor)

    async def _changes(
        self, changed: list[Changed], covered: set[str], seen: Seen, until: Cursor, *, exact: bool
    ) -> AsyncIterator[Change]:
        orders = orders_text(until.orders)
        for one in changed:
            row = one.request
            if row.state is State.RUNNING and row.runner_id in covered:
                continue
            half = Seen(seen.snapshot, until.seen.snapshot, one.change, row.request_id)
            cursor = seen_text(half) + orders if exact else ""
            revision = row_revision(row)
            view = (
                await self._views.stored(row, revision) if revision else await self._views.now(row)
            )
            yield view.snapshot_change(State.RUNNING, cursor)

    async def _uncovered(self, covered: set[str], told: set[str]) -> AsyncIterator[Change]:
        """Requests of runners that do not answer: what they told last may be lost."""
        for row in self._hub.running():
            if row.runner_id not in covered and row.request_id not in told:
                view = await self._views.now(row)
                yield view.snapshot_change(State.RUNNING, "")


def _last(seen: Seen) -> int:
    return int((seen.half or seen.snapshot).split(":")[1])
