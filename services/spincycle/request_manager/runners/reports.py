"""Reports of runners on their requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from spincycle.batching.coalescer import Coalescer
from spincycle.errors import (
    InvalidInput,
    InvalidState,
    NotYours,
    RequestNotFound,
    SpinCycleError,
    StaleEpoch,
)
from spincycle.model.state import FINAL, State
from spincycle.request_manager.runners.dispatcher import Dispatcher
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.model import (
    ChainHolder,
    Finished,
    Progressed,
    Report,
    ReportKey,
    Suspended,
    report_key,
)
from spincycle.request_manager.storage.report_store import ReportStore
from spincycle.runtime.off_loop import LARGE_CHAIN_BYTES, off_loop

R = TypeVar("R", Finished, Progressed, Suspended)

Adopt = Callable[[bytes, bytes], tuple[bytes, bool]]
"""Returns a saved state with the archived chain in it, and whether that has secrets, as
`saved_chain.adopt`."""


class Reports:
    """Stores reports of runners, in batches by kind."""

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
        """Coalescers of the writes, by kind of report."""
        return {
            "finish": self._finishes,
            "progress": self._progresses,
            "suspend": self._suspensions,
        }

    async def store(self, report: Report) -> None:
        """Store a report; it is committed when this returns. Idempotent.

        Raises:
            StaleEpoch: the request is assigned under another epoch.
            NotYours: the request is assigned to another runner under this epoch.
            InvalidState: the request has ended in another state.
            RequestNotFound: the request does not exist.
            InvalidInput: the report has no epoch, or its state is not final.
            InvalidChain: the saved chain differs from the archived chain.
            RequestUnreadable: the archived chain is sealed, and cannot be opened.
        """
        if report.epoch < 1:
            raise InvalidInput("a report must have the epoch of the assignment, from 1", "epoch")
        match report:
            case Finished():
                if report.state not in FINAL:
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
        """Return the report with the archived chain in its saved state."""
        archived = await self._archives.job_chain(report.request_id)
        if not archived:
            raise RequestNotFound(report.request_id)
        saved = report.suspended_job_chain
        is_large = len(saved) >= LARGE_CHAIN_BYTES
        adopted, has_secrets = await off_loop(is_large, lambda: self._adopt(archived, saved))
        return replace(report, suspended_job_chain=adopted, has_secrets=has_secrets)

    async def _finish(self, reports: Sequence[Finished]) -> list[BaseException | None]:
        latest = {report_key(report): report for report in reports}
        stored, has_room = await self._store.finish(list(latest.values()))
        self._changes.publish({request_id for request_id, _, _ in stored})
        if has_room:
            self._dispatcher.wake()
        log = structlog.get_logger()
        for key in stored:
            request_id, epoch, _ = key
            log.info("finished", request_id=request_id, state=latest[key].state.name, epoch=epoch)
        return await self._outcomes(reports, stored, lambda report: report.state)

    async def _progress(self, reports: Sequence[Progressed]) -> list[BaseException | None]:
        latest = {report_key(report): report for report in reports}
        stored = await self._store.progress(list(latest.values()))
        return await self._outcomes(reports, stored, lambda _: None)

    async def _suspend(self, reports: Sequence[Suspended]) -> list[BaseException | None]:
        latest = {report_key(report): report for report in reports}
        stored = await self._store.suspend(list(latest.values()))
        self._changes.publish({request_id for request_id, _, _ in stored})
        log = structlog.get_logger()
        for (request_id, _, _), state in stored.items():
            log.info("suspended", request_id=request_id, state=state.name)
        if stored:
            self._dispatcher.wake()
        return await self._outcomes(reports, set(stored), lambda _: State.SUSPENDED)

    async def _outcomes(
        self, reports: Sequence[R], stored: set[ReportKey], reported: Callable[[R], State | None]
    ) -> list[BaseException | None]:
        """Return, per report, why it was not stored; None if it was, or had been before.

        `reported` returns the state that a report moves its request to.
        """
        missing = [report.request_id for report in reports if report_key(report) not in stored]
        current = await self._store.targets(missing) if missing else {}
        outcomes: list[BaseException | None] = []
        for report in reports:
            if report_key(report) in stored:
                outcomes.append(None)
            elif report.request_id not in current:
                outcomes.append(RequestNotFound(report.request_id))
            else:
                outcomes.append(_refusal(report, reported(report), current[report.request_id]))
        return outcomes


def _refusal(report: Report, reported: State | None, target: ChainHolder) -> SpinCycleError | None:
    if report.epoch != target.epoch:
        return StaleEpoch(report.request_id, report.epoch, target.epoch)
    if target.state is reported:
        return None
    is_live = target.state not in FINAL
    is_with_another = target.orphaned or target.runner_id not in ("", report.runner_id)
    if report.runner_id and is_live and is_with_another:
        return NotYours(
            f'runner "{report.runner_id}"',
            f"request {report.request_id}",
            "it is not assigned to that runner",
            report.request_id,
        )
    return InvalidState(report.request_id, target.state.name, State.RUNNING.name)
