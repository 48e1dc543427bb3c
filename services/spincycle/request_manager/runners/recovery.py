"""Eviction of silent runners, and recovery of the requests of lost runners."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog

from spincycle.batching.coalescer import Coalescer
from spincycle.errors import DatabaseUnavailable, InvalidChain, RequestUnreadable, SpinCycleError
from spincycle.model.revision import LAST_EPOCH
from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.runners.silence import SilenceMonitor, SilenceTimeouts
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.dispatch_store import DispatchStore
from spincycle.request_manager.storage.model import Assignment, FenceMismatch, Orphan, Suspended
from spincycle.request_manager.storage.recovery_store import RecoveryStore
from spincycle.request_manager.storage.report_store import ReportStore
from spincycle.request_manager.storage.runner_store import RunnerStore
from spincycle.runtime.watchdog import Watchdog

Rebuild = Callable[[Orphan, bytes], Awaitable[Suspended]]
"""Fences the journal of a request; returns the state rebuilt from archived chain and journal."""

_AFTER_DUE = 0.01
"""Seconds to wait after a silence timeout: a silence must exceed it."""


@dataclass(frozen=True, slots=True)
class RecoveryPolicy:
    """Parameters of eviction and recovery; all times in seconds.

    Attributes:
        interval: between two scans of the runners; twice that while no eviction is due, and
            between two queries for orphans of runners that others evicted.
        silence_timeout: without a heartbeat after which a runner is evicted.
        lease: for which a claimed request is left to its claimant, extended while that one works
            on it.
        retry_delay: after which a request that could not be rebuilt is tried again.
        batch: most requests that are claimed at once.
        parallel: most requests that are rebuilt at once.
    """

    interval: float = 1.0
    silence_timeout: float = 8.0
    lease: float = 4.0
    retry_delay: float = 1.0
    batch: int = 100
    parallel: int = 16

    @property
    def timeouts(self) -> SilenceTimeouts:
        """Timeouts of silent runners; that of a replaced one exceeds a heartbeat interval."""
        return SilenceTimeouts(
            silence=self.silence_timeout,
            replaced=self.silence_timeout * 3 / 8,
            scan_gap=max(self.silence_timeout / 2, 3 * self.interval),
        )

    def pause(self, next_due: float | None) -> float:
        """Return the seconds until the next scan.

        An eviction that is due in `next_due` seconds is made at that moment, and not up to one
        interval later. None means that there are no runners.
        """
        longest = 2 * self.interval
        if next_due is None:
            return longest
        return min(max(next_due + _AFTER_DUE, self.interval), longest)


@contextmanager
def _logging(problem: str) -> Iterator[None]:
    """Log an error that prevents one round of a loop; the next round tries again."""
    try:
        yield
    except DatabaseUnavailable:
        structlog.get_logger().debug(problem)
    except SpinCycleError as error:
        structlog.get_logger().warning(problem, why=error.message)


@dataclass(frozen=True, slots=True)
class RecoveryStores:
    """Stores that the recovery uses."""

    recovery: RecoveryStore
    runners: RunnerStore
    archives: ArchiveStore
    dispatch: DispatchStore
    reports: ReportStore


class Recovery:
    """Evicts silent runners, and rebuilds the requests of lost runners for the dispatcher.

    A request continues from its journal: the epoch is raised and the journal is fenced before it
    is read, so that later entries and reports of the lost runner are refused.

    Args:
        wake_dispatcher: called after requests were rebuilt.

    Attributes:
        recovered: number of requests that this process rebuilt.
        evicted: number of runners that it evicted.
    """

    def __init__(
        self,
        stores: RecoveryStores,
        runners: RunnerDirectory,
        silences: SilenceMonitor,
        changes: ChangeBus,
        rebuild: Rebuild,
        wake_dispatcher: Callable[[], None],
        policy: RecoveryPolicy,
    ) -> None:
        self._stores = stores
        self._store = stores.recovery
        self._runners = runners
        self._silences = silences
        self._changes = changes
        self._rebuild = rebuild
        self._wake_dispatcher = wake_dispatcher
        self._policy = policy
        self._rebuilding = asyncio.Semaphore(policy.parallel)
        self._rebuilt = Coalescer[Suspended, None](self._suspend)
        self._has_evicted = asyncio.Event()
        self.watchdog = Watchdog()
        self.eviction_watchdog = Watchdog()
        self.recovered = 0
        self.evicted = 0

    async def run(self) -> None:
        """Evict and recover until cancelled."""
        async with asyncio.TaskGroup() as group:
            # Two tasks: a long recovery must not delay the scans, or silence would be reset.
            group.create_task(self._run_eviction())
            group.create_task(self._run_recovery())

    async def _run_eviction(self) -> None:
        """Evict runners that are silent for too long."""
        self.eviction_watchdog.start()
        while True:
            pause = self._policy.interval
            with _logging("cannot scan runners"):
                pause = self._policy.pause(await self._evict())
            self.eviction_watchdog.tick()
            await asyncio.sleep(pause)

    async def _run_recovery(self) -> None:
        """Recover requests of deregistered runners, whichever process evicted these."""
        self.watchdog.start()
        while True:
            with _logging("cannot recover"):
                await self._recover_orphans()
            self.watchdog.tick()
            with suppress(TimeoutError):
                async with asyncio.timeout(2 * self._policy.interval):
                    await self._has_evicted.wait()
            self._has_evicted.clear()

    async def recover_unanswered(self, assigned: Sequence[Assignment]) -> None:
        """Recover requests that a runner may or may not have accepted.

        Raises:
            DatabaseUnavailable: nothing has changed.
        """
        await self._recover(await self._store.claim_unanswered(assigned, self._policy.lease))

    async def _evict(self) -> float | None:
        """Evict overdue runners; return the seconds until the next one can be overdue."""
        cached = self._runners.cached
        result = await self._stores.runners.evict(self._silences.overdue())
        for runner_id in result.evicted:
            structlog.get_logger().error("runner evicted", runner_id=runner_id)
        self.evicted += len(result.evicted)
        if result.evicted:
            self._runners.invalidate()
            self._has_evicted.set()
        # Includes runners that left or that other processes evicted: nothing else may read the
        # directory for a while.
        live = (runner.runner_id for runner in result.live)
        await self._runners.disconnect(cached.difference(live))
        return self._silences.scanned(result.live)

    async def _recover_orphans(self) -> None:
        while orphans := await self._store.claim_orphans(self._policy.lease, self._policy.batch):
            await self._recover(orphans)
            if len(orphans) < self._policy.batch:
                return

    async def _recover(self, orphans: Sequence[Orphan]) -> None:
        if not orphans:
            return
        remaining = {orphan.request_id: orphan for orphan in orphans}
        holding = asyncio.create_task(self._hold(remaining))
        try:
            async for chains in self._stores.archives.chain_portions(list(remaining)):
                async with asyncio.TaskGroup() as group:
                    for request_id, chain in chains.items():
                        orphan = remaining[request_id]
                        group.create_task(self._recover_one(orphan, chain, remaining))
            for orphan in list(remaining.values()):
                await self._recover_one(orphan, b"", remaining)
        finally:
            holding.cancel()
        self._wake_dispatcher()

    async def _hold(self, remaining: dict[str, Orphan]) -> None:
        """Extend the claims on the remaining requests."""
        while True:
            await asyncio.sleep(self._policy.lease / 4)
            with suppress(DatabaseUnavailable):
                await self._store.hold_claims(list(remaining.values()), self._policy.lease)
            self.watchdog.tick()

    async def _recover_one(
        self, orphan: Orphan, chain: bytes | RequestUnreadable, remaining: dict[str, Orphan]
    ) -> None:
        log = structlog.get_logger().bind(request_id=orphan.request_id, epoch=orphan.epoch)
        try:
            state = await self._state(orphan, chain)
            await self._rebuilt.submit(state)
        except FenceMismatch as fenced:
            await self._outrun(orphan, fenced.in_force)
        except InvalidChain as error:
            log.error("request not recoverable", why=error.message)  # noqa: TRY400 # the data's fault, not the code's
            lost = Assignment(orphan.request_id, orphan.runner_id, orphan.epoch, resumed=True)
            with suppress(DatabaseUnavailable):
                self._changes.publish(await self._stores.dispatch.fail({lost: error.message}))
        except SpinCycleError as error:
            log.warning("cannot rebuild yet", why=error.message)
            await self._retry_later(orphan)
        except Exception:  # the failure of one request must not prevent the others
            log.exception("cannot rebuild")
            await self._retry_later(orphan)
        else:
            self.recovered += 1
            log.info("recovered", runner_id=orphan.runner_id, finished_jobs=state.finished_jobs)
        finally:
            del remaining[orphan.request_id]

    async def _state(self, orphan: Orphan, chain: bytes | RequestUnreadable) -> Suspended:
        """Return the rebuilt state of a request; raises as `ChainArchive.rebuild`."""
        if isinstance(chain, RequestUnreadable):
            # A key may be missing in this copy only, or for a while.
            raise chain
        async with self._rebuilding:
            return await self._rebuild(orphan, chain)

    async def _outrun(self, orphan: Orphan, in_force: int) -> None:
        """Raise the epoch above a higher fence, so that recovery always succeeds.

        A lower fence is raised further when the request is tried again.
        """
        log = structlog.get_logger().bind(request_id=orphan.request_id, epoch=orphan.epoch)
        if in_force < orphan.epoch:
            log.warning("journal fenced under a lower epoch", fence=in_force)
            await self._retry_later(orphan)
            return
        if in_force >= LAST_EPOCH:
            log.error("journal fenced beyond the last epoch", fence=in_force)
            await self._retry_later(orphan)
            return
        log.warning("journal fenced under a higher epoch", fence=in_force)
        with suppress(DatabaseUnavailable):
            await self._store.outrun_fence(orphan, in_force + 1)

    async def _retry_later(self, orphan: Orphan) -> None:
        with suppress(DatabaseUnavailable):
            await self._store.hold_claims([orphan], self._policy.retry_delay)

    async def _suspend(self, states: Sequence[Suspended]) -> list[BaseException | None]:
        rebuilt = await self._stores.reports.suspend(states, recovered=True)
        self._changes.publish({request_id for request_id, _, _ in rebuilt})
        return [None for _ in states]
