"""Compares the requests that are RUNNING on a runner with the chains that the runner holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from spincycle.model.state import FINAL
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.model import ChainHolder
from spincycle.request_manager.storage.reconciliation_store import ReconciliationStore


@dataclass(frozen=True, slots=True)
class Difference:
    """What a runner should hold and does not, and the other way round: epochs by request id.

    Attributes:
        expected: RUNNING requests that the runner did not list.
        abandoned: chains that the runner listed and must abandon.
    """

    expected: Mapping[str, int] = field(default_factory=dict)
    abandoned: Mapping[str, int] = field(default_factory=dict)


class Reconciler:
    """Repairs differences between rows and runners, whatever made them.

    A difference counts when the runner has seen it twice: it lists what it holds, is sent what it
    should hold, and confirms what it lacks. In between it may have been sent the chain, or have
    reported its end; the update by epoch then changes nothing. The recovery does the rest: it
    fences the journal under the new epoch and rebuilds the chain.

    Attributes:
        repaired: requests that this process left to the recovery.
    """

    def __init__(self, store: ReconciliationStore, changes: ChangeBus) -> None:
        self._store = store
        self._changes = changes
        self.repaired = 0

    async def compare(self, runner_id: str, held: Mapping[str, int]) -> Difference:
        """Compare all chains that a runner holds with the rows.

        Raises:
            DatabaseUnavailable: nothing was compared.
        """
        running = await self._store.chains(runner_id)
        expected = {id_: epoch for id_, epoch in running.items() if held.get(id_) != epoch}
        unknown = {id_: epoch for id_, epoch in held.items() if running.get(id_) != epoch}
        if not unknown:
            return Difference(expected)
        holders = await self._store.holders(list(unknown))
        strays, abandoned = {}, {}
        for request_id, epoch in unknown.items():
            holder = holders.get(request_id)
            if _is_unaccepted(holder, runner_id, epoch):
                continue
            abandoned[request_id] = epoch
            if holder is not None and holder.state not in FINAL and holder.epoch <= epoch:
                strays[request_id] = epoch
        if strays:
            await self._leave_to_recovery(
                "orphan_strays", runner_id, await self._store.orphan_strays(runner_id, strays)
            )
        return Difference(expected, abandoned)

    async def recover(self, runner_id: str, missing: Mapping[str, int]) -> None:
        """Have requests recovered whose chains their runner confirmed not to hold.

        Raises:
            DatabaseUnavailable: nothing has changed.
        """
        orphaned = await self._store.orphan_missing(runner_id, missing) if missing else []
        await self._leave_to_recovery("orphan_missing", runner_id, orphaned)

    async def _leave_to_recovery(self, why: str, runner_id: str, request_ids: list[str]) -> None:
        self.repaired += len(request_ids)
        self._changes.changed(request_ids)
        for request_id in request_ids:
            structlog.get_logger().error(
                "runner and request manager differed",
                request_id=request_id,
                runner_id=runner_id,
                difference=why,
            )


def _is_unaccepted(holder: ChainHolder | None, runner_id: str, epoch: int) -> bool:
    """Whether the runner has just accepted the chain, and the row does not say so yet."""
    return (
        holder is not None
        and holder.runner_id == runner_id
        and holder.epoch == epoch
        and not holder.orphaned
        and holder.state not in FINAL
    )
