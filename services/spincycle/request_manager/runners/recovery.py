"""Taking requests from runners that are gone, and letting them go on elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog

from spincycle.batching.coalescer import Coalescer
from spincycle.errors import DatabaseUnavailable, InvalidChain, SpinCycleError
from spincycle.model.revision import LAST_EPOCH
from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.runners.silence import SilenceLimits, SilenceMonitor
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.dispatch_store import DispatchStore
from spincycle.request_manager.storage.model import Assignment, Orphan, OtherFence, Suspended
from spincycle.request_manager.storage.recovery_store import RecoveryStore
from spincycle.request_manager.storage.report_store import ReportStore
from spincycle.request_manager.storage.runner_store import RunnerStore
from spincycle.runtime.watchdog import Watchdog

Rebuild = Callable[[Orphan, bytes], Awaitable[Suspended]]
"""Works the state of a request out of its archived chain and its journal, and fences it."""


_AFTER_DUE = 0.01
"""Seconds after the moment at which a silence is long enough: it must be longer."""


@dataclass(frozen=True, slots=True)
class RecoveryPolicy:
    """How runners are given up.

    Attributes:
        interval: seconds between two looks at the runners, or twice that while none can be given
            up; and half of those between two looks for requests that others left.
        silence: seconds without a beat after which a runner is given up.
        lease: seconds for which a claimed request is left to the one who claimed it, counted
            anew as long as that one is at work.
        again: seconds after which a request that cannot be rebuilt now is tried again.
        batch: most requests that are claimed at once.
        parallel: most requests that are rebuilt at once.
    """

    interval: float = 1.0
    silence: float = 8.0
    lease: float = 4.0
    again: float = 1.0
    batch: int = 100
    parallel: int = 16

    @property
    def limits(self) -> SilenceLimits:
        """When a runner is silent for too long: if it was replaced, after more than one beat."""
        return SilenceLimits(
            limit=self.silence,
            limit_if_replaced=self.silence * 3 / 8,
            gap=max(self.silence / 2, 3 * self.interval),
        )

    def pause(self, next_due: float | None) -> float:
        """Seconds until the next look, if a runner may be given up after so many; None if never.

        Then it is taken at that moment, and not up to one interval later.
        """
        longest = 2 * self.interval
        if next_due is None:
            return longest
        return min(max(next_due + _AFTER_DUE, self.interval), longest)


@contextmanager
def _logging(problem: str) -> Iterator[None]:
    """Log what keeps a turn of a loop from its work; the next turn tries again."""
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
    """Finds dead runners and gives their requests back to the dispatcher.

    A request goes on from what its journal says: the epoch is raised and the journal fenced
    before it is read, so nothing that the old runner may still do counts.

    Attributes:
        recovered: requests that this process gave back.
        given_up: runners that it gave up.
    """

    def __init__(
        self,
        stores: RecoveryStores,
        runners: RunnerDirectory,
        silences: SilenceMonitor,
        changes: ChangeBus,
        rebuild: Rebuild,
        look: Callable[[], None],
        policy: RecoveryPolicy,
    ) -> None:
        self._stores = stores
        self._store = stores.recovery
        self._runners = runners
        self._silences = silences
        self._changes = changes
        self._rebuild = rebuild
        self._look = look
        self._policy = policy
        self._rebuilding = asyncio.Semaphore(policy.parallel)
        self._ready = Coalescer[Suspended, None](self._suspend)
        self._lost = asyncio.Event()
        self.pulse = Watchdog()
        self.look_pulse = Watchdog()
        self.recovered = 0
        self.given_up = 0

    async def run(self) -> None:
        """Recover until cancelled."""
        async with asyncio.TaskGroup() as group:
            # Beside each other: silence is counted anew after a gap between two looks.
            group.create_task(self._keep_looking())
            group.create_task(self._keep_recovering())

    async def _keep_looking(self) -> None:
        """Give up runners that are silent for too long."""
        self.look_pulse.start()
        while True:
            pause = self._policy.interval
            with _logging("cannot look at runners"):
                pause = self._policy.pause(await self._give_up())
            self.look_pulse.tick()
            await asyncio.sleep(pause)

    async def _keep_recovering(self) -> None:
        """Recover requests of runners that are gone, whoever gave those up."""
        self.pulse.start()
        while True:
            with _logging("cannot recover"):
                await self._recover_orphans()
            self.pulse.tick()
            with suppress(TimeoutError):
                async with asyncio.timeout(2 * self._policy.interval):
                    await self._lost.wait()
            self._lost.clear()

    async def recover_unanswered(self, assigned: Sequence[Assignment]) -> None:
        """Take requests back from a runner that may or may not have got them.

        Raises:
            DatabaseUnavailable: they are left as they are.
        """
        await self._recover(await self._store.claim_unanswered(assigned, self._policy.lease))

    async def _give_up(self) -> float | None:
        """Give up silent runners; return the seconds until the next one can be due."""
        known = self._runners.known
        look = await self._stores.runners.give_up(self._silences.overdue())
        for runner_id in look.evicted:
            structlog.get_logger().error("runner given up", runner_id=runner_id)
        self.given_up += len(look.evicted)
        if look.evicted:
            self._runners.forget()
            self._lost.set()
        # Also those that another request manager evicted, or that left: nobody may ask for a while.
        await self._runners.drop(known.difference(runner.runner_id for runner in look.live))
        return self._silences.looked(look.live)

    async def _recover_orphans(self) -> None:
        while orphans := await self._store.claim_orphans(self._policy.lease, self._policy.batch):
            await self._recover(orphans)
            if len(orphans) < self._policy.batch:
                return

    async def _recover(self, orphans: Sequence[Orphan]) -> None:
        if not orphans:
            return
        at_work = {orphan.request_id: orphan for orphan in orphans}
        holding = asyncio.create_task(self._hold(at_work))
        try:
            async for chains in self._stores.archives.chain_portions(list(at_work)):
                async with asyncio.TaskGroup() as group:
                    for request_id, chain in chains.items():
                        orphan = at_work[request_id]
                        group.create_task(self._recover_one(orphan, chain, at_work))
            for orphan in list(at_work.values()):
                await self._recover_one(orphan, b"", at_work)
        finally:
            holding.cancel()
        self._look()

    async def _hold(self, at_work: dict[str, Orphan]) -> None:
        """Keep the claims on what is still being worked at."""
        while True:
            await asyncio.sleep(self._policy.lease / 4)
            with suppress(DatabaseUnavailable):
                await self._store.hold_claims(list(at_work.values()), self._policy.lease)
            self.pulse.tick()

    async def _recover_one(self, orphan: Orphan, chain: bytes, at_work: dict[str, Orphan]) -> None:
        log = structlog.get_logger().bind(request_id=orphan.request_id, epoch=orphan.epoch)
        try:
            async with self._rebuilding:
                state = await self._rebuild(orphan, chain)
            await self._ready.submit(state)
        except OtherFence as fenced:
            await self._outrun(orphan, fenced.in_force)
        except InvalidChain as error:
            log.error("can never go on", why=error.message)  # noqa: TRY400 # the data's fault, not the code's
            lost = Assignment(orphan.request_id, orphan.runner_id, orphan.epoch, resumed=True)
            with suppress(DatabaseUnavailable):
                self._changes.changed(await self._stores.dispatch.fail({lost: error.message}))
        except SpinCycleError as error:
            log.warning("cannot rebuild yet", why=error.message)
            await self._leave_for_later(orphan)
        except Exception:  # one request's trouble must not keep the others
            log.exception("cannot rebuild")
            await self._leave_for_later(orphan)
        else:
            self.recovered += 1
            log.info("recovered", runner_id=orphan.runner_id, finished_jobs=state.finished_jobs)
        finally:
            del at_work[orphan.request_id]

    async def _outrun(self, orphan: Orphan, in_force: int) -> None:
        """Raise the epoch above a fence that is higher, so that recovery always wins.

        A fence that is lower is raised further when the request is tried again.
        """
        log = structlog.get_logger().bind(request_id=orphan.request_id, epoch=orphan.epoch)
        if in_force < orphan.epoch:
            log.warning("journal fenced under a lower epoch", fence=in_force)
            await self._leave_for_later(orphan)
            return
        if in_force >= LAST_EPOCH:
            log.error("journal fenced beyond the last epoch", fence=in_force)
            await self._leave_for_later(orphan)
            return
        log.warning("journal fenced under a higher epoch", fence=in_force)
        with suppress(DatabaseUnavailable):
            await self._store.outrun_fence(orphan, in_force + 1)

    async def _leave_for_later(self, orphan: Orphan) -> None:
        with suppress(DatabaseUnavailable):
            await self._store.hold_claims([orphan], self._policy.again)

    async def _suspend(self, states: Sequence[Suspended]) -> list[BaseException | None]:
        self._changes.changed(await self._stores.reports.suspend(states))
        return [None for _ in states]
