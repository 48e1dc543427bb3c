"""Snapshots of requests at one revision: from their runner, or from database and journal."""

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
from spincycle.request_manager.request_encoding import encode_or_report, request_failure
from spincycle.request_manager.storage.change_store import ChangeStore
from spincycle.request_manager.storage.encoded_args import NO_ARGS, EncodedArgs
from spincycle.request_manager.storage.job_log_client import JobLogClient
from spincycle.request_manager.storage.model import PagePosition, Request, RequestFilter
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.request_manager.watch.events import EncodedEvent, entry_status, snapshot_event
from spincycle.request_manager.watch.runner_feeds import RunnerFeeds
from spincycle.request_manager.watch.subscriber_queue import SubscriberQueue
from spincycle.request_manager.watch.tracked_request import row_revision
from spincycle.runtime.backoff import Backoff
from spincycle.v1 import job_chain_pb2, job_log_pb2, request_event_pb2, status_pb2

RETRY_INTERVAL = 1.0
"""Seconds before a broken stream of output is reopened."""

PAGE_SIZE = 1000
"""Requests per page of a list."""

CONCURRENT_JOURNALS = 8
"""Most journals that are read concurrently for one caller."""


@dataclass(frozen=True, slots=True)
class RequestSnapshot:
    """A request and its jobs at one revision.

    Attributes:
        missed: every event of its runner since the revision that the caller named, if the runner
            has kept all of them; `jobs` is empty then.
        failure: why its jobs could not be read; None if they were.
    """

    row: Request
    revision: int
    args: EncodedArgs = NO_ARGS
    jobs: Sequence[status_pb2.JobStatus] = ()
    counts: tuple[int, int] = (0, 0)
    missed: Sequence[job_event_pb2.JobEvent] | None = None
    failure: SpinCycleError | None = None

    def as_event(self, before: State | None) -> EncodedEvent:
        """Return the snapshot as an event; it reports what could not be read or encoded."""
        message = encode_or_report(self.row, self.args, self.failure)
        finished, rolled_back = self.counts
        if finished > message.finished_jobs:
            message.finished_jobs = message.counts.finished = finished
            message.counts.rolled_back = rolled_back
        snapshot = request_event_pb2.RequestSnapshot(request=message, jobs=self.jobs)
        return snapshot_event(self.row, before, self.revision, snapshot)


class RequestSnapshots:
    """Makes snapshots of requests.

    Every method raises DatabaseUnavailable or ServiceUnavailable if what it needs cannot be read.
    """

    def __init__(
        self,
        store: RequestStore,
        changes: ChangeStore,
        feeds: RunnerFeeds,
        archive: ChainArchive,
        job_log: JobLogClient,
    ) -> None:
        self._store = store
        self._changes = changes
        self._feeds = feeds
        self._archive = archive
        self._job_log = job_log

    async def current(
        self, rows: Iterable[Request], known: Mapping[str, int]
    ) -> list[RequestSnapshot]:
        """Return current snapshots of requests, in order; `known` are revisions of the caller."""
        rows = list(rows)
        described = await self._describe(rows, known)
        released = [
            row.request_id
            for row in rows
            if row.state in LIVE and row.runner_id and row.request_id not in described
        ]
        # Their runners have released the chains by now, or are lost.
        current = await self._store.get(released) if released else {}
        args = await self._changes.args([row.request_id for row in rows])

        async def make(row: Request) -> RequestSnapshot:
            chain = described.get(row.request_id)
            its_args = args.get(row.request_id, NO_ARGS)
            if chain is not None:
                return await _or_failure(row, its_args, self._of_chain(row, chain, its_args))
            row = current.get(row.request_id, row)
            return await _or_failure(row, its_args, self._stored(row, its_args))

        return await _gather([partial(make, row) for row in rows])

    async def at_revisions(self, wanted: Sequence[tuple[Request, int]]) -> list[RequestSnapshot]:
        """Return snapshots at a revision each, in order; revision 0 is the current one."""
        running = [row for row, revision in wanted if not revision]
        current = iter(await self.current(running, {}) if running else [])
        past = [(row, revision) for row, revision in wanted if revision]
        args = await self._changes.args([row.request_id for row, _ in past]) if past else {}
        makers = [
            partial(self._at, row, args.get(row.request_id, NO_ARGS), revision)
            for row, revision in past
        ]
        stored = iter(await _gather(makers))
        return [next(stored if revision else current) for _, revision in wanted]

    async def from_runner(
        self, rows: Sequence[Request], runner_id: str
    ) -> tuple[list[RequestSnapshot], int]:
        """Return snapshots of requests from one runner, and the runner's offset they include.

        Requests whose chains the runner does not have are missing.

        Raises:
            ServiceUnavailable: the runner does not respond.
            JournalBehind: the journal of a chain is not committed yet.
        """
        chains = [job_runner_service_pb2.KnownChain(request_id=row.request_id) for row in rows]
        described, offset = await self._feeds.describe(runner_id, chains, require_all=True)
        args = await self._changes.args(list(described)) if described else {}
        snapshots = []
        for row in rows:
            if row.request_id in described:
                its_args = args.get(row.request_id, NO_ARGS)
                making = self._of_chain(row, described[row.request_id], its_args)
                snapshots.append(await _or_failure(row, its_args, making))
        return snapshots, offset

    async def stored(self, row: Request, revision: int) -> RequestSnapshot:
        """Return a snapshot at a revision from the database and the journal."""
        args = (await self._changes.args([row.request_id])).get(row.request_id, NO_ARGS)
        return await self._at(row, args, revision)

    async def live_requests(self) -> list[Request]:
        """Return all requests that have not ended."""
        live = RequestFilter(states=tuple(sorted(LIVE)))
        rows: list[Request] = []
        after: PagePosition | None = None
        while True:
            page = await self._store.find(live, PAGE_SIZE, after=after)
            rows += page
            if len(page) < PAGE_SIZE:
                return rows
            after = PagePosition(page[-1].created_at, page[-1].request_id)

    async def chain(self, request_id: str) -> job_chain_pb2.JobChain:
        """Return the chain of a request, with secrets redacted."""
        return await self._archive.chain(request_id)

    async def entries(self, request_id: str, after: int) -> AsyncIterator[job_log_pb2.JobLog]:
        """Yield the journal entries of a request after a position, without output."""
        async for entry in self._job_log.tail(request_id, after):
            yield entry

    async def forward_output(self, request_id: str, queue: SubscriberQueue) -> None:
        """Add the live output of a request's jobs to a queue, until cancelled."""
        backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
        while True:
            with suppress(SpinCycleError):
                async for output in self._job_log.output(request_id):
                    queue.put_output(output)
            # Live output is not stored: what is printed until the stream reopens is lost.
            await backoff.wait()

    async def _describe(
        self, rows: Sequence[Request], known: Mapping[str, int]
    ) -> dict[str, job_runner_service_pb2.ChainStatus]:
        by_runner: dict[str, list[job_runner_service_pb2.KnownChain]] = {}
        for row in rows:
            if row.state in LIVE and row.runner_id:
                epoch, position, step = parts_of(known.get(row.request_id, 0))
                chain = job_runner_service_pb2.KnownChain(
                    request_id=row.request_id,
                    epoch=epoch,
                    sequence_number=number_of(position, step),
                )
                by_runner.setdefault(row.runner_id, []).append(chain)
        described: dict[str, job_runner_service_pb2.ChainStatus] = {}
        for runner_id, chains in by_runner.items():
            with suppress(ServiceUnavailable):  # The snapshot is made from what is stored.
                described |= (await self._feeds.describe(runner_id, chains))[0]
        return described

    async def _of_chain(
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
            # A runner that resumes a chain does not have the earlier tries.
            async for entry in self._job_log.entries(row.request_id, without_output=True):
                job = jobs.get(entry.job_id)
                if job is not None and not job.HasField("started_at"):
                    status = entry_status(entry)
                    status.state = job.state
                    jobs[entry.job_id] = status
        counts = (chain.counts.finished, chain.counts.rolled_back)
        return RequestSnapshot(running, revision, args, list(jobs.values()), counts)

    async def _at(self, row: Request, args: EncodedArgs, revision: int) -> RequestSnapshot:
        making = self._stored(row, args, parts_of(revision).position)
        return replace(await _or_failure(row, args, making), revision=revision)

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


async def _gather(
    makers: Sequence[Callable[[], Awaitable[RequestSnapshot]]],
) -> list[RequestSnapshot]:
    """Return what each maker returns, in order; if one fails, cancel the others.

    At most CONCURRENT_JOURNALS run at a time.
    """
    made: dict[int, RequestSnapshot] = {}
    remaining = iter(enumerate(makers))

    async def work() -> None:
        for index, make in remaining:
            made[index] = await make()

    workers = [asyncio.create_task(work()) for _ in makers[:CONCURRENT_JOURNALS]]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [made[index] for index in range(len(makers))]


async def _or_failure(
    row: Request, args: EncodedArgs, making: Awaitable[RequestSnapshot]
) -> RequestSnapshot:
    """Return the snapshot being made, or one that reports why this request has none."""
    try:
        return await making
    except Exception as cause:  # noqa: BLE001 # request_failure raises shared failures again
        failure = request_failure(row.request_id, cause)
        at = row_revision(row) or revision_of(row.epoch, BEGUN_STEP)
        return RequestSnapshot(row, at, args, failure=failure)
