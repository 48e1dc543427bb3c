"""Compares the requests that are RUNNING on a runner with the chains that the runner holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from spincycle.model.revision import LAST_EPOCH
from spincycle.model.state import FINAL
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.model import ChainHolder
from spincycle.request_manager.storage.reconciliation_store import ReconciliationStore

IsProven = Callable[[str, int], bool]
"""Returns whether a request was certainly assigned to a runner under an epoch."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences between the rows and the chains of a runner: epochs by request id.

    Attributes:
        expected: RUNNING requests that the runner did not list.
        abandoned: chains that the runner listed and must abandon.
    """

    expected: Mapping[str, int] = field(default_factory=dict)
    abandoned: Mapping[str, int] = field(default_factory=dict)


class Reconciler:
    """Orphans requests whose rows and runners differ, so that the recovery rebuilds them.

    A difference must be confirmed by the runner: it lists the chains that it holds, receives those
    that it should hold, and confirms those that it lacks. In between it may have received the
    chain, or have reported its end; the update by epoch then changes nothing. The recovery fences
    the journal under the new epoch.

    The word of a runner changes only its own requests. It may hold a chain that its row does not
    assign to it, because the database lost the assignment in a failover: then it must prove that
    the chain was assigned to it.

    Attributes:
        repaired: number of requests that this process orphaned.
    """

    def __init__(self, store: ReconciliationStore, changes: ChangeBus) -> None:
        self._store = store
        self._changes = changes
        self.repaired = 0

    async def compare(
        self, runner_id: str, held: Mapping[str, int], is_proven: IsProven
    ) -> Difference:
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
        strays, abandoned, proven = {}, {}, set()
        for request_id, epoch in unknown.items():
            holder = holders.get(request_id)
            if _is_unaccepted(holder, runner_id, epoch):
                continue
            abandoned[request_id] = epoch
            if holder is None or holder.state in FINAL:
                continue
            if holder.epoch <= epoch <= LAST_EPOCH:
                if is_proven(request_id, epoch):
                    proven.add(request_id)
                elif holder.runner_id != runner_id:
                    continue
                strays[request_id] = epoch
        if strays:
            orphaned = await self._store.orphan_strays(runner_id, strays, proven)
            self._report_orphaned("orphan_strays", runner_id, orphaned)
        return Difference(expected, abandoned)

    async def recover(self, runner_id: str, missing: Mapping[str, int]) -> None:
        """Orphan requests whose runner confirmed that it does not hold their chains.

        Raises:
            DatabaseUnavailable: nothing has changed.
        """
        orphaned = await self._store.orphan_missing(runner_id, missing) if missing else []
        self._report_orphaned("orphan_missing", runner_id, orphaned)

    def _report_orphaned(self, difference: str, runner_id: str, request_ids: list[str]) -> None:
        self.repaired += len(request_ids)
        self._changes.publish(request_ids)
        for request_id in request_ids:
            structlog.get_logger().error(
                "chains of runner and rows differed",
                request_id=request_id,
                runner_id=runner_id,
                difference=difference,
            )


def _is_unaccepted(holder: ChainHolder | None, runner_id: str, epoch: int) -> bool:
    """Return whether the runner has accepted the chain and the row does not show it yet."""
    return (
        holder is not None
        and holder.runner_id == runner_id
        and holder.epoch == epoch
        and not holder.orphaned
        and holder.state not in FINAL
    )
