"""What runners tell: that they are there, that they live, and what became of requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from spincycle.batching.coalescer import Coalescer
from spincycle.errors import (
    InvalidInput,
    InvalidState,
    RequestNotFound,
    RunnerUnknown,
    SpinCycleError,
    StaleEpoch,
)
from spincycle.model.state import State
from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.runners.dispatcher import Dispatcher
from spincycle.request_manager.runners.silence import SilenceMonitor
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.change_bus import RESYNC, ChangeBus
from spincycle.request_manager.storage.heartbeats import (
    Heartbeat,
    Registration,
    StopSignals,
    StoredHeartbeat,
)
from spincycle.request_manager.storage.model import Finished, Progressed, Report, Suspended
from spincycle.request_manager.storage.report_store import ReportStore
from spincycle.request_manager.storage.runner_store import RunnerStore
from spincycle.runtime.off_loop import LARGE_CHAIN_BYTES, off_loop

R = TypeVar("R", Finished, Progressed, Suspended)

Adopt = Callable[[bytes, bytes], bytes]
"""Puts the archived chain into a saved state, as `saved_chain.adopt`."""

ENDS = frozenset({State.COMPLETE, State.FAIL, State.STOPPED})
"""States in which a runner can report a request to have ended."""


class Reports:
    """Takes reports of runners, each moved by a compare-and-set on state and epoch."""

    def __init__(
        self,
        store: ReportStore,
        archives: ArchiveStore,
        changes: ChangeBus,
        dispatcher: Dispatcher,
        adopt: Adopt,
    ) -> None:
        self._store = store
        self._archives = archives
        self._adopt = adopt
        self._changes = changes
        self._dispatcher = dispatcher
        self._finishes = Coalescer[Finished, None](self._finish)
        self._progresses = Coalescer[Progressed, None](self._progress)
        self._suspensions = Coalescer[Suspended, None](self._suspend)

    @property
    def coalescers(self) -> dict[str, Coalescer[Any, Any]]:
        """What is written together, by kind."""
        return {
            "finish": self._finishes,
            "progress": self._progresses,
            "suspend": self._suspensions,
        }

    async def take(self, report: Report) -> None:
        """Store one report; it is stored when this returns. The same report again is fine.

        Raises:
            StaleEpoch: another runner has the request now.
            InvalidState: the request has ended otherwise.
            RequestNotFound: there is no such request.
            InvalidInput: the report has no epoch, or a state in which no request ends.
            InvalidChain: the saved chain is not the one that was planned.
        """
        if report.epoch < 1:
            raise InvalidInput("a report carries the epoch of the assignment, from 1", "epoch")
        match report:
            case Finished():
                if report.state not in ENDS:
                    raise InvalidInput(
                        f"a request cannot end in state {report.state.name}; it ends in COMPLETE, "
                        "FAIL or STOPPED",
                        "state",
                    )
                await self._finishes.submit(report)
            case Progressed():
                await self._progresses.submit(report)
            case Suspended():
                await self._suspensions.submit(await self._adopted(report))

    async def _adopted(self, report: Suspended) -> Suspended:
        """The report with the archived chain in its state."""
        archived = (await self._archives.job_chains([report.request_id])).get(report.request_id)
        if archived is None:
            raise RequestNotFound(report.request_id)
        saved = report.suspended_job_chain
        is_large = len(saved) >= LARGE_CHAIN_BYTES
        adopted = await off_loop(is_large, lambda: self._adopt(archived, saved))
        return replace(report, suspended_job_chain=adopted)

    async def _finish(self, reports: Sequence[Finished]) -> list[BaseException | None]:
        newest = list({report.request_id: report for report in reports}.values())
        taken, room = await self._store.finish(newest)
        self._changes.changed(taken)
        if room:
            self._dispatcher.look()
        log = structlog.get_logger()
        for report in newest:
            if report.request_id in taken:
                log.info(
                    "finished",
                    request_id=report.request_id,
                    state=report.state.name,
                    epoch=report.epoch,
                )
        return await self._judge(reports, taken, lambda report: report.state)

    async def _progress(self, reports: Sequence[Progressed]) -> list[BaseException | None]:
        newest = list({report.request_id: report for report in reports}.values())
        taken = await self._store.progress(newest)
        return await self._judge(reports, taken, lambda _: None)

    async def _suspend(self, reports: Sequence[Suspended]) -> list[BaseException | None]:
        newest = list({report.request_id: report for report in reports}.values())
        taken = await self._store.suspend(newest)
        self._changes.changed(taken)
        log = structlog.get_logger()
        for request_id, state in taken.items():
            log.info("suspended", request_id=request_id, state=state.name)
        if taken:
            self._dispatcher.look()
        return await self._judge(reports, set(taken), lambda _: State.SUSPENDED)

    async def _judge(
        self, reports: Sequence[R], taken: set[str], becomes: Callable[[R], State | None]
    ) -> list[BaseException | None]:
        """Why each report that was not taken was not, or None if it need not be again."""
        left = [report.request_id for report in reports if report.request_id not in taken]
        known = await self._store.states(left) if left else {}
        verdicts: list[BaseException | None] = []
        for report in reports:
            if report.request_id in taken:
                verdicts.append(None)
            elif report.request_id not in known:
                verdicts.append(RequestNotFound(report.request_id))
            else:
                verdicts.append(_verdict(report, becomes(report), *known[report.request_id]))
        return verdicts


def _verdict(
    report: Finished | Progressed | Suspended, becomes: State | None, state: State, epoch: int
) -> SpinCycleError | None:
    if report.epoch and report.epoch != epoch:
        return StaleEpoch(report.request_id, report.epoch, epoch)
    if report.epoch and state is becomes:
        return None
    return InvalidState(report.request_id, state.name, State.RUNNING.name)


class RunnerRegistry:
    """Knows runners by what they say of themselves."""

    def __init__(
        self,
        store: RunnerStore,
        runners: RunnerDirectory,
        silences: SilenceMonitor,
        changes: ChangeBus,
        came: Callable[[], None],
    ) -> None:
        self._store = store
        self._changes = changes
        self._runners = runners
        self._silences = silences
        self._came = came

    async def register(self, runner: Registration) -> StoredHeartbeat:
        """Make a runner known.

        Raises:
            RunnerUnknown: it was given up under this id.
            InvalidInput: it does not say who and where it is.
        """
        if not runner.runner_id:
            raise InvalidInput("a runner must have an id", "runner_id")
        if not runner.address:
            raise InvalidInput("a runner must say at which address it is reached", "address")
        stored = await self._store.register(runner)
        if stored is None:
            raise RunnerUnknown(runner.runner_id)
        self._silences.received(runner.runner_id, stored.heartbeat)
        structlog.get_logger().info(
            "runner registered", runner_id=runner.runner_id, address=runner.address
        )
        self._runners.forget()
        self._came()
        # Who watches, here or at another request manager, hears the runner from its beginning.
        self._changes.changed([RESYNC])
        return stored

    async def beat(self, sign: Heartbeat) -> StopSignals:
        """Note a sign of life; answer what is wished of the runner's requests.

        Raises:
            RunnerUnknown: it is not known, or was given up.
        """
        wishes = await self._store.beat(sign)
        if wishes is None:
            raise RunnerUnknown(sign.runner_id)
        self._silences.received(sign.runner_id, wishes.stored.heartbeat)
        if sign.leaving:
            structlog.get_logger().info("runner left", runner_id=sign.runner_id)
            self._runners.forget()
        return wishes


Take = Callable[[Report], Awaitable[None]]
"""Stores one report, as `Reports.take`."""
