"""Drops what runners send about requests that are not assigned to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog

from spincycle.internal.v1 import job_event_pb2
from spincycle.model.revision import parts_of
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.model import ChainHolder
from spincycle.request_manager.watch.registry import SubscriptionRegistry
from spincycle.request_manager.watch.snapshots import RequestSnapshot
from spincycle.request_manager.watch.tracked_request import TrackedRequest

Chain = tuple[str, int]
"""Request id and epoch."""


class AssignmentCheck:
    """Checks that tracked requests are, or were, assigned to the runner that sends about them.

    Reads the assignments in the database if the tracked requests do not show them: once per batch
    of events, and not again for a chain whose assignment was found.
    """

    def __init__(self, store: ChangeStore, registry: SubscriptionRegistry) -> None:
        self._store = store
        self._registry = registry

    async def events(
        self, runner_id: str, events: Sequence[job_event_pb2.JobEvent]
    ) -> Sequence[job_event_pb2.JobEvent]:
        """Return the events that the runner may send.

        Raises:
            DatabaseUnavailable: the assignments cannot be read.
        """
        foreign = await self._foreign(runner_id, ((one.request_id, one.epoch) for one in events))
        if not foreign:
            return events
        return [one for one in events if (one.request_id, one.epoch) not in foreign]

    async def snapshots(
        self, runner_id: str, snapshots: Sequence[RequestSnapshot]
    ) -> list[RequestSnapshot]:
        """Return the snapshots that the runner may send.

        Raises:
            DatabaseUnavailable: the assignments cannot be read.
        """
        chains = {(one.row.request_id, one.row.epoch): one for one in snapshots}
        foreign = await self._foreign(runner_id, chains)
        return [one for chain, one in chains.items() if chain not in foreign]

    async def _foreign(self, runner_id: str, chains: Iterable[Chain]) -> set[Chain]:
        unknown: dict[Chain, TrackedRequest] = {}
        for chain in set(chains):
            tracked = self._registry.get(chain[0])
            if tracked is None or chain[1] < parts_of(tracked.delivered_revision).epoch:
                # Nothing of it is published.
                continue
            if (tracked.row.runner_id, tracked.row.epoch) == (runner_id, chain[1]):
                tracked.assignment = (runner_id, chain[1])
            elif tracked.assignment != (runner_id, chain[1]):
                unknown[chain] = tracked
        if not unknown:
            return set()
        holders = await self._store.holders([request_id for request_id, _ in unknown])
        foreign: set[Chain] = set()
        for chain, tracked in unknown.items():
            request_id, epoch = chain
            holder = holders.get(request_id)
            if holder is None or not _may_send(holder, runner_id, epoch):
                foreign.add(chain)
            elif (holder.runner_id, holder.epoch) == (runner_id, epoch):
                tracked.assignment = (runner_id, epoch)
        if foreign:
            structlog.get_logger().warning(
                "events of another runner's requests dropped",
                runner_id=runner_id,
                requests=len(foreign),
                request_id=min(foreign)[0],
            )
        return foreign


def _may_send(holder: ChainHolder, runner_id: str, epoch: int) -> bool:
    """Return whether the chain is, or may have been, assigned to the runner.

    Rows do not show earlier assignments. Events under these come before all later ones.
    """
    if holder.epoch == epoch:
        return holder.runner_id in ("", runner_id)
    return holder.epoch > epoch
