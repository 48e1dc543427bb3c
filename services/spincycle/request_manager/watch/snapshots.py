"""How requests are at one moment, at a revision: from their runner, or from what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from spincycle.errors import ServiceUnavailable, SpinCycleError
from spincycle.internal.v1 import job_event_pb2, job_runner_service_pb2
from spincycle.model.revision import BEGUN_STEP, LAST_POSITION, number_of, parts_of, revision_of
from spincycle.model.state import LIVE, State
from spincycle.request_manager.chain_archive import ChainArchive
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.job_log_client import JobLogClient
from spincycle.request_manager.storage.model import PagePosition, Request, RequestFilter
from spincycle.request_manager.storage.store import RequestStore
from spincycle.request_manager.watch.events import EncodedEvent, entry_status, snapshot_change
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue
from spincycle.request_manager.watch.tracked_request import row_revision
from spincycle.request_manager.watch.unreadable import (
    NO_ARGS,
    EncodedArgs,
    encode_or_report,
    request_failure,
)
from spincycle.runtime.backoff import Backoff
from spincycle.v1 import job_chain_pb2, job_log_pb2, request_event_pb2, status_pb2

RETRY_INTERVAL = 1.0
"""Seconds before a stream of output that broke is opened again."""

PAGE = 1000
"""Requests that are read at once."""

JOURNALS_AT_ONCE = 8
"""Requests whose journals are read at once for one caller."""


@dataclass(frozen=True, slots=True)
class RequestSnapshot:
    """A request and its jobs at one revision.

    Attributes:
        missed: every event of its runner since the revision that was known, if they are all
            kept; there are no jobs then.
        failure: why its jobs could not be read; None if they were.
    """

    row: Request
    revision: int
    args: EncodedArgs = NO_ARGS
    jobs: Sequence[status_pb2.JobStatus] = ()
    counts: tuple[int, int] = (0, 0)
    missed: Sequence[job_event_pb2.JobEvent] | None = None
    failure: SpinCycleError | None = None

    def snapshot_change(self, before: State | None) -> EncodedEvent:
        """Return the view as an event; it reports what could not be read or encoded."""
        message = encode_or_report(self.row, self.args, self.failure)
        message.revision = self.revision
        if self.counts[0] > message.finished_jobs:
            message.finished_jobs, message.rolled_back_jobs = self.counts
        snapshot = request_event_pb2.RequestSnapshot(request=message, jobs=self.jobs)
        return snapshot_change(self.row, before, snapshot)


class RequestSnapshots:
    """Looks at requests. Every method raises what the database or the job log says."""

    def __init__(
        self,
        store: RequestStore,
        changes: ChangeStore,
        feeds: RunnerFeeds,
        snapshots: ChainArchive,
        job_log: JobLogClient,
    ) -> None:
        self._store = store
        self._changes = changes
        self._feeds = feeds
        self._snapshots = snapshots
        self._job_log = job_log

    async def now(self, row: Request, known: int = 0) -> RequestSnapshot:
        """How a request is; `known` is the revision that the caller has seen."""
        (view,) = await self.now_all([row], {row.request_id: known})
        return view

    async def now_all(
        self, rows: Iterable[Request], known: Mapping[str, int]
    ) -> list[RequestSnapshot]:
        """How requests are, in the same order."""
        rows = list(rows)
        described = await self._described(rows, known)
        lost = [
            row.request_id
            for row in rows
            if row.state in LIVE and row.runner_id and row.request_id not in described
        ]
        # Their chain has left the runner by now, or the runner is gone.
        again = await self._store.get(lost) if lost else {}
        args = await self._changes.args([row.request_id for row in rows])

        async def view(row: Request) -> RequestSnapshot:
            chain = described.get(row.request_id)
            its_args = args.get(row.request_id, NO_ARGS)
            if chain is not None:
                return await _or_failure(row, its_args, self._from_runner(row, chain, its_args))
            row = again.get(row.request_id, row)
            return await _or_failure(row, its_args, self._stored(row, its_args))

        return await _some_at_once([partial(view, row) for row in rows])

    async def of_all(self, wanted: Sequence[tuple[Request, int]]) -> list[RequestSnapshot]:
        """How requests were at a revision each, or are if that is 0, in the same order."""
        now = [row for row, revision in wanted if not revision]
        running = iter(await self.now_all(now, {}) if now else [])
        at = [(row, revision) for row, revision in wanted if revision]
        args = await self._changes.args([row.request_id for row, _ in at]) if at else {}
        makers = [
            partial(self._at, row, args.get(row.request_id, NO_ARGS), revision)
            for row, revision in at
        ]
        stored = iter(await _some_at_once(makers))
        return [next(stored if revision else running) for _, revision in wanted]

    async def of_runner(
        self, rows: Sequence[Request], runner_id: str
    ) -> tuple[list[RequestSnapshot], int]:
        """How requests are whose chains are at a runner, and the order up to which that goes.

        Those that it does not know are missing.

        Raises:
            ServiceUnavailable: the runner does not answer.
            JournalBehind: it cannot tell of each yet.
        """
        chains = [job_runner_service_pb2.KnownChain(request_id=row.request_id) for row in rows]
        described, order = await self._feeds.describe(runner_id, chains, each=True)
        args = await self._changes.args(list(described)) if described else {}
        views = []
        for row in rows:
            if row.request_id in described:
                its_args = args.get(row.request_id, NO_ARGS)
                made = self._from_runner(row, described[row.request_id], its_args)
                views.append(await _or_failure(row, its_args, made))
        return views, order

    async def stored(self, row: Request, revision: int) -> RequestSnapshot:
        """How a request was at a revision, as the database and the journal have it."""
        args = (await self._changes.args([row.request_id])).get(row.request_id, NO_ARGS)
        return await self._at(row, args, revision)

    async def live(self) -> list[Request]:
        """All requests that have not ended."""
        which = RequestFilter(states=tuple(sorted(LIVE)))
        rows: list[Request] = []
        after: PagePosition | None = None
        while True:
            page = await self._store.find(which, PAGE, after=after)
            rows += page
            if len(page) < PAGE:
                return rows
            after = PagePosition(page[-1].created_at, page[-1].request_id)

    async def _at(self, row: Request, args: EncodedArgs, revision: int) -> RequestSnapshot:
        made = self._stored(row, args, parts_of(revision).position)
        return replace(await _or_failure(row, args, made), revision=revision)

    async def chain(self, request_id: str) -> job_chain_pb2.JobChain:
        """The chain of a request, without its secrets."""
        return await self._snapshots.chain(request_id)

    async def entries(self, request_id: str, after: int) -> AsyncIterator[job_log_pb2.JobLog]:
        """Journal entries of a request after a position, without output."""
        async for entry in self._job_log.tail(request_id, after):
            yield entry

    async def put_output(self, request_id: str, watcher: SubscriberQueue) -> None:
        """Let a watcher have what jobs of a request print, until cancelled."""
        backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
        while True:
            try:
                async for piece in self._job_log.output(request_id):
                    watcher.put_output(piece)
            except SpinCycleError:
                # Output is not kept: what is printed meanwhile is told by the next stream, or not.
                await backoff.wait()

    async def _described(
        self, rows: Sequence[Request], known: Mapping[str, int]
    ) -> dict[str, job_runner_service_pb2.ChainStatus]:
        by_runner: dict[str, list[job_runner_service_pb2.KnownChain]] = {}
        for row in rows:
            if row.state in LIVE and row.runner_id:
                seen = known.get(row.request_id, 0)
                epoch, position, step = parts_of(seen)
                chain = job_runner_service_pb2.KnownChain(
                    request_id=row.request_id,
                    epoch=epoch,
                    sequence_number=number_of(position, step),
                )
                by_runner.setdefault(row.runner_id, []).append(chain)
        described: dict[str, job_runner_service_pb2.ChainStatus] = {}
        for runner_id, chains in by_runner.items():
            with suppress(ServiceUnavailable):  # What is stored must do.
                described |= (await self._feeds.describe(runner_id, chains))[0]
        return described

    async def _from_runner(
        self,
        row: Request,
        chain: job_runner_service_pb2.ChainStatus,
        args: EncodedArgs,
    ) -> RequestSnapshot:
        running = replace(row, state=State.RUNNING, epoch=chain.epoch, finished_at=None)
        revision = revision_of(chain.epoch, chain.sequence_number)
        if chain.complete:
            return RequestSnapshot(running, revision, args, missed=list(chain.missed))
        jobs = {job.job_id: job for job in chain.jobs}
        if chain.epoch > 1:
            # A runner that goes on with a chain does not know how earlier tries went.
            async for entry in self._job_log.entries(row.request_id, without_output=True):
                job = jobs.get(entry.job_id)
                if job is not None and not job.HasField("started_at"):
                    told = entry_status(entry)
                    told.state = job.state
                    jobs[entry.job_id] = told
        counts = (chain.finished_jobs, chain.rolled_back_jobs)
        return RequestSnapshot(running, revision, args, list(jobs.values()), counts)

    async def _stored(
        self, row: Request, args: EncodedArgs, until: int = LAST_POSITION
    ) -> RequestSnapshot:
        jobs: dict[str, status_pb2.JobStatus] = {}
        position = 0
        if row.epoch and until:
            async for entry in self._job_log.entries(row.request_id, without_output=True):
                if entry.position > until:
                    break
                jobs[entry.job_id] = entry_status(entry)
                position = entry.position
        at = row_revision(row) or revision_of(row.epoch, number_of(position, 0))
        return RequestSnapshot(row, at, args, list(jobs.values()))


async def _some_at_once(
    makers: Sequence[Callable[[], Awaitable[RequestSnapshot]]],
) -> list[RequestSnapshot]:
    """Return what each makes, in the same order; if one fails, the others are cancelled."""
    made: dict[int, RequestSnapshot] = {}
    left = iter(enumerate(makers))

    async def work() -> None:
        for place, make in left:
            made[place] = await make()

    workers = [asyncio.create_task(work()) for _ in makers[:JOURNALS_AT_ONCE]]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [made[place] for place in range(len(makers))]


async def _or_failure(
    row: Request, args: EncodedArgs, made: Awaitable[RequestSnapshot]
) -> RequestSnapshot:
    """Return the view that is being made, or one that reports why that one request has none."""
    try:
        return await made
    except Exception as cause:  # noqa: BLE001 # a failure of all requests is raised again
        failure = request_failure(row.request_id, cause)
        at = row_revision(row) or revision_of(row.epoch, BEGUN_STEP)
        return RequestSnapshot(row, at, args, failure=failure)
