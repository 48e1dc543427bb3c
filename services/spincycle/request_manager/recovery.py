"""Taking requests from runners that are gone, and letting them go on elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from spincycle.errors import SpinCycleError
from spincycle.request_manager.changes import Changes
from spincycle.request_manager.model import Assigned, Orphan, Suspended
from spincycle.request_manager.runner_store import RunnerStore
from spincycle.request_manager.runners import RunnerDirectory
from spincycle.request_manager.store import RequestStore

Rebuild = Callable[[Orphan, bytes], Awaitable[Suspended]]
"""Works the state of a request out of its archived chain and its journal, and fences it."""


@dataclass(frozen=True, slots=True)
class RecoveryPolicy:
    """How runners are given up.

    Attributes:
        interval: seconds between two looks.
        silence: seconds without a beat after which a runner is given up.
        lease: seconds for which a claimed request is left to the one who claimed it.
        batch: most requests that are claimed at once.
        parallel: most requests that are rebuilt at once.
    """

    interval: float = 2.0
    silence: float = 8.0
    lease: float = 30.0
    batch: int = 100
    parallel: int = 16


class Recovery:
    """Finds dead runners and gives their requests back to the dispatcher.

    A request goes on from what its journal says: the epoch is raised and the journal fenced
    before it is read, so nothing that the old runner may still do counts.
    """

    def __init__(
        self,
        store: RequestStore,
        runner_store: RunnerStore,
        runners: RunnerDirectory,
        changes: Changes,
        rebuild: Rebuild,
        look: Callable[[], None],
        policy: RecoveryPolicy,
    ) -> None:
        self._store = store
        self._runner_store = runner_store
        self._runners = runners
        self._changes = changes
        self._rebuild = rebuild
        self._look = look
        self._policy = policy
        self._rebuilding = asyncio.Semaphore(policy.parallel)

    async def run(self) -> None:
        """Recover until cancelled.

        Silence is counted only while this process could have heard: after a start, and after
        the database was away, runners first get the whole limit to beat again.
        """
        loop = asyncio.get_running_loop()
        hearing_since: float | None = None
        while True:
            await asyncio.sleep(self._policy.interval)
            try:
                if hearing_since is None:
                    hearing_since = loop.time()
                    await self._runner_store.live()
                elif loop.time() - hearing_since > self._policy.silence:
                    await self._give_up()
                await self._recover_orphans()
            except SpinCycleError as error:
                structlog.get_logger().warning("cannot recover", why=error.message)
                hearing_since = None

    async def recover_unanswered(self, assigned: Sequence[Assigned]) -> None:
        """Take requests back from a runner that may or may not have got them.

        Raises:
            DatabaseUnavailable: they are left as they are.
        """
        await self._recover(await self._store.claim_unanswered(assigned, self._policy.lease))

    async def _give_up(self) -> None:
        given_up = await self._runner_store.give_up(self._policy.silence)
        for runner_id in given_up:
            structlog.get_logger().error("runner given up", runner_id=runner_id)
        if given_up:
            self._runners.forget()

    async def _recover_orphans(self) -> None:
        while orphans := await self._store.claim_orphans(self._policy.lease, self._policy.batch):
            await self._recover(orphans)
            if len(orphans) < self._policy.batch:
                return

    async def _recover(self, orphans: Sequence[Orphan]) -> None:
        if not orphans:
            return
        chains = await self._store.job_chains([orphan.request_id for orphan in orphans])
        rebuilt = await asyncio.gather(
            *(self._rebuild_one(orphan, chains[orphan.request_id]) for orphan in orphans)
        )
        ready = [state for state in rebuilt if state]
        self._changes.changed(await self._store.suspend(ready))
        self._look()

    async def _rebuild_one(self, orphan: Orphan, chain: bytes) -> Suspended | None:
        log = structlog.get_logger().bind(request_id=orphan.request_id, epoch=orphan.epoch)
        async with self._rebuilding:
            try:
                state = await self._rebuild(orphan, chain)
            except SpinCycleError as error:
                # The claim runs out, and the next one tries again.
                log.warning("cannot rebuild yet", why=error.message)
                return None
        log.info("recovered", runner_id=orphan.runner_id, finished_jobs=state.finished_jobs)
        return state
