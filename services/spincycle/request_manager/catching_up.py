"""From the cursor of a stream of all requests to where this request manager is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Iterable, Sequence
from dataclasses import dataclass

from spincycle.errors import CursorTooOld
from spincycle.internal.v1 import job_event_pb2
from spincycle.request_manager.change_store import ChangeStore
from spincycle.request_manager.cursor import Cursor
from spincycle.request_manager.feeds import Feeds
from spincycle.request_manager.hub import Hub
from spincycle.request_manager.model import Request
from spincycle.request_manager.store import RequestStore
from spincycle.request_manager.told import Change, job_change
from spincycle.request_manager.tracked import begun, row_revision
from spincycle.request_manager.views import Views
from spincycle.request_manager.watcher import Watcher
from spincycle.revision import BEGUN_STEP, revision_of
from spincycle.state import State

BEGUN = job_event_pb2.CHAIN_MOMENT_BEGUN
LEFT = job_event_pb2.CHAIN_MOMENT_LEFT

MAX_CHANGED = 10_000
"""Requests that may have changed since a cursor."""

Step = tuple[str, job_event_pb2.JobEvent]
"""What a runner told: its id, and the event."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Where requests and their changes are read."""

    requests: RequestStore
    changes: ChangeStore


class CatchingUp:
    """Finds what was missed: what runners still know step by step, and the rest as snapshots.

    A runner that lives and no longer knows all of it makes the cursor too old.
    """

    def __init__(self, hub: Hub, stores: Stores, feeds: Feeds, views: Views) -> None:
        self._hub = hub
        self._stores = stores
        self._feeds = feeds
        self._views = views

    async def run(
        self, watcher: Watcher, after: Cursor, text: str
    ) -> tuple[list[Change], Cursor | None]:
        """All that was told after a cursor, request by request, with rising revisions.

        What waits for the watcher from then on comes after it. Answers, too, where it ends; None
        if some of it may be beyond, as a runner was asked how its chains are.

        Raises:
            CursorTooOld: too much has happened since, or it is of another database.
        """
        until, live = await self._hub.begin_after(watcher, after.orders)
        if after.last > until.last:
            raise CursorTooOld(text)
        steps, covered = await self._steps(after, until, text)
        # Read before the changes: what is not among these is as it was at the cursor.
        rows = await self._stores.requests.get(list(steps))
        new = await self._changed(after.seen, text)
        later = await self._changed(until.seen, text)
        missed: list[Change] = []
        for request_id, row in rows.items():
            if request_id not in new:
                # A runner that is given up tells on under the epoch that it was told of with.
                epoch = live.get(request_id, row).epoch
                told = row_revision(row) or revision_of(epoch, BEGUN_STEP)
                changes = [change async for change in self._stepwise(row, steps[request_id])]
                missed += _rising(changes, told)
        for request_id, row in new.items():
            if request_id in live or request_id not in later:  # Else it came after `until`.
                as_told = live.get(request_id, row)
                missed += await self._of_new(as_told, steps.get(request_id, []), covered)
        # What a runner told last that does not answer may be lost.
        running = (row for row in live.values() if row.state is State.RUNNING)
        lost = [row for row in running if row.runner_id not in covered]
        for row in lost:
            if row.request_id not in rows and row.request_id not in new:
                missed.append(await self._now(row))
        return missed, None if lost else until

    async def _of_new(
        self, row: Request, steps: Sequence[Step], covered: Container[str]
    ) -> list[Change]:
        """What was missed of a request that has another state than it had at the cursor."""
        goes_on = row.state is State.RUNNING and row.runner_id in covered
        changes = [] if goes_on else [await self._now(row)]
        changes += [change async for change in self._stepwise(row, steps)]
        # An epoch had begun before the cursor if its runner knows all that came after the cursor,
        # and the beginning is not among it.
        begun_before = {event.epoch for _, event in steps} | ({row.epoch} if goes_on else set())
        begun_before -= {event.epoch for _, event in steps if event.moment == BEGUN}
        return _rising(changes, revision_of(max(begun_before), 0) if begun_before else 0)

    async def _steps(
        self, after: Cursor, until: Cursor, text: str
    ) -> tuple[dict[str, list[Step]], set[str]]:
        """What was told between two cursors, by request; and the runners that tell all of it."""
        steps: dict[str, list[Step]] = {}
        covered: set[str] = set()
        for runner_id, order in until.orders.items():
            known = after.orders.get(runner_id, 0)
            if order < known:
                continue
            try:
                events = await self._feeds.missed(runner_id, known, order)
            except LookupError:
                if runner_id in after.orders:
                    raise CursorTooOld(text) from None
                continue
            if events is None:
                continue
            covered.add(runner_id)
            for event in events:
                steps.setdefault(event.request_id, []).append((runner_id, event))
        return steps, covered

    async def _changed(self, seen: str, text: str) -> dict[str, Request]:
        _, changed = await self._stores.changes.after(seen, MAX_CHANGED + 1)
        if len(changed) > MAX_CHANGED:
            raise CursorTooOld(text)
        return {row.request_id: row for row in changed}

    async def _stepwise(self, row: Request, steps: Iterable[Step]) -> AsyncIterator[Change]:
        for runner_id, event in steps:
            running = begun(row, event, runner_id, self._feeds.address(runner_id))
            if event.moment == BEGUN:
                at = revision_of(event.epoch, event.sequence_number)
                yield (await self._views.stored(running, at)).snapshot_change(None)
            elif event.moment != LEFT:
                yield job_change(running, event, counted=True)

    async def _now(self, row: Request) -> Change:
        revision = row_revision(row)
        view = await (self._views.stored(row, revision) if revision else self._views.now(row))
        return view.snapshot_change(None)


def _rising(changes: Iterable[Change], told: int) -> list[Change]:
    """Changes in order, but for those up to a revision."""
    rising: list[Change] = []
    for change in sorted(changes, key=lambda change: change.revision):
        if change.revision > told:
            rising.append(change)
            told = change.revision
    return rising
