"""The event streams of the runners: one per runner, shared by all subscribers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import grpc
import structlog

from spincycle.errors import (
    DatabaseUnavailable,
    JournalBehind,
    ServiceUnavailable,
    SpinCycleError,
)
from spincycle.internal.v1 import job_event_pb2
from spincycle.internal.v1 import job_runner_service_pb2 as rpc
from spincycle.request_manager.runners.client import RunnerClient
from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.storage.model import Request, Runner
from spincycle.runtime.backoff import Backoff
from spincycle.runtime.process import supervise

MIN_RETRY_DELAY = 0.1
MAX_RETRY_DELAY = 2.0
"""Seconds before a broken stream is reopened; doubled with each failure, from min to max."""

CONNECT_TIMEOUT = 2.0
"""Seconds to wait for the streams of all runners when the first subscriber starts."""

DESCRIBE_TIMEOUT = 5.0
"""Seconds for one DescribeChains call, and for one read of past events."""

DESCRIBE_BATCH = 25
"""Most chains per DescribeChains call."""


class FeedListener(Protocol):
    """Receives the events of runners."""

    async def on_start(self, runner_id: str, offset: int, resident: Sequence[str] | None) -> None:
        """Handle the start of a stream, whose events follow an offset.

        `resident`: requests whose chains the runner has at this point; None if the stream
        continues where the previous one ended.
        """
        ...

    async def on_events(self, runner_id: str, events: Sequence[job_event_pb2.JobEvent]) -> None:
        """Handle events of a runner."""
        ...

    def on_lost(self, runner_id: str) -> None:
        """Handle the loss of a runner, which will send no more events."""
        ...


class RunnerFeeds:
    """Keeps an event stream open from each live runner, between `open` and `close`."""

    def __init__(self, runners: RunnerDirectory) -> None:
        self._runners = runners
        self._feeds: dict[str, _Feed] = {}
        self._listener: FeedListener | None = None

    async def open(self, listener: FeedListener) -> None:
        """Open the streams of all live runners.

        Raises:
            DatabaseUnavailable: the live runners cannot be read.
        """
        self._listener = listener
        await self.refresh()

    async def refresh(self, *, reload: bool = False) -> None:
        """Open the streams of new runners and close those of lost runners.

        `reload`: read the live runners from the database, not from the cache.

        Raises:
            DatabaseUnavailable: the live runners cannot be read.
        """
        if reload:
            self._runners.invalidate()
        live = await self._runners.live()
        listener = self._listener
        if listener is None:
            return
        for runner_id in [runner_id for runner_id in self._feeds if runner_id not in live]:
            self._feeds.pop(runner_id).close()
            listener.on_lost(runner_id)
        for runner_id, client in live.items():
            if runner_id not in self._feeds:
                self._feeds[runner_id] = _Feed(client, listener, self._refresh_after_break)

    async def ensure_feeds(self, rows: Iterable[Request]) -> None:
        """Open the streams of the runners of these requests.

        Raises:
            DatabaseUnavailable: the live runners cannot be read.
        """
        if any(row.runner_id and not self.has(row.runner_id) for row in rows):
            await self.refresh(reload=True)

    async def wait_connected(self) -> None:
        """Return when every stream has started, or after CONNECT_TIMEOUT."""
        waiting = [asyncio.ensure_future(feed.connected.wait()) for feed in self._feeds.values()]
        try:
            if waiting:
                await asyncio.wait(waiting, timeout=CONNECT_TIMEOUT)
        finally:
            for task in waiting:
                task.cancel()

    @property
    def runner_ids(self) -> list[str]:
        """Ids of the runners whose streams are open or being reopened."""
        return list(self._feeds)

    def has(self, runner_id: str) -> bool:
        """Return whether the stream of a runner is open or being reopened."""
        return runner_id in self._feeds

    def is_connected(self, runner_id: str) -> bool:
        """Return whether the stream of a runner is open; for an empty id, whether any is."""
        if not runner_id:
            return any(feed.connected.is_set() for feed in self._feeds.values())
        feed = self._feeds.get(runner_id)
        return feed is not None and feed.connected.is_set()

    def address(self, runner_id: str) -> str:
        """Return the address of a runner, host:port; empty if it has no stream."""
        feed = self._feeds.get(runner_id)
        return feed.client.runner.address if feed else ""

    async def describe(
        self, runner_id: str, chains: Iterable[rpc.KnownChain], *, require_all: bool = False
    ) -> tuple[dict[str, rpc.ChainStatus], int]:
        """Return the status of chains by request, and the offset at which it was taken.

        Chains that the runner does not have are missing. So are chains whose journal is not
        committed yet, unless `require_all`.

        Raises:
            ServiceUnavailable: the runner does not respond.
            JournalBehind: `require_all`, and the journal of a chain is not committed yet.
        """
        found: dict[str, rpc.ChainStatus] = {}
        offset = 0
        feed = self._feeds.get(runner_id)
        if feed is None:
            return found, offset
        named = list(chains)
        for start in range(0, len(named), DESCRIBE_BATCH):
            batch = named[start : start + DESCRIBE_BATCH]
            response = await feed.describe(rpc.DescribeChainsRequest(chains=batch))
            if require_all and response.uncommitted_request_ids:
                raise JournalBehind
            found |= {chain.request_id: chain for chain in response.chains}
            offset = response.offset
        return found, offset

    async def offsets(self) -> dict[str, int]:
        """Return the offset of the last event of each runner that responds."""
        connected = [id_ for id_, feed in self._feeds.items() if feed.connected.is_set()]
        reads = [self._feeds[runner_id].offset() for runner_id in connected]
        offsets = zip(connected, await asyncio.gather(*reads), strict=True)
        return {runner_id: offset for runner_id, offset in offsets if offset is not None}

    async def past_events(
        self, runner_id: str, after: int, until: int
    ) -> list[job_event_pb2.JobEvent] | None:
        """Return the events of a runner between two offsets; None if it does not respond.

        Raises:
            LookupError: the runner has dropped some of them.
        """
        feed = self._feeds.get(runner_id)
        if feed is None:
            return None
        if after == until:
            return []
        events: list[job_event_pb2.JobEvent] = []
        request = rpc.WatchJobsRequest(runner_id=runner_id, after_offset=after)
        with suppress(ServiceUnavailable), _unavailable_on_failure(feed.client.runner):
            call = feed.client.stub.WatchJobs(request, timeout=DESCRIBE_TIMEOUT)
            try:
                while not events or events[-1].offset < until:
                    response = await call.read()
                    if not isinstance(response, rpc.WatchJobsResponse):
                        return None
                    if response.started.gap:
                        raise LookupError(runner_id)
                    events.extend(response.events)
            finally:
                call.cancel()
            return [event for event in events if event.offset <= until]
        return None

    def close(self) -> list[asyncio.Task[None]]:
        """Close all streams; return their tasks, which are being cancelled."""
        self._listener = None
        tasks = [feed.close() for feed in self._feeds.values()]
        self._feeds.clear()
        return tasks

    async def _refresh_after_break(self) -> None:
        with suppress(DatabaseUnavailable):
            await self.refresh(reload=True)


class _Feed:
    """The event stream of one runner, reopened until it is closed."""

    def __init__(
        self,
        client: RunnerClient,
        listener: FeedListener,
        on_broken: Callable[[], Awaitable[None]],
    ) -> None:
        self.client = client
        self.connected = asyncio.Event()
        self._listener = listener
        self._on_broken = on_broken
        self._task = asyncio.create_task(supervise("runner stream", self._run))

    def close(self) -> asyncio.Task[None]:
        """Close the stream; return its task, which is being cancelled."""
        self.connected.clear()
        self._task.cancel()
        return self._task

    async def describe(self, request: rpc.DescribeChainsRequest) -> rpc.DescribeChainsResponse:
        """Call DescribeChains.

        Raises:
            ServiceUnavailable: the runner does not respond.
        """
        try:
            with _unavailable_on_failure(self.client.runner):
                return await self.client.stub.DescribeChains(request, timeout=DESCRIBE_TIMEOUT)
        except ServiceUnavailable as failure:
            runner_id = self.client.runner.runner_id
            structlog.get_logger().warning(
                "chains not described", runner_id=runner_id, cause=_cause(failure)
            )
            raise

    async def offset(self) -> int | None:
        """Return the offset of the runner's last event; None if it does not respond."""
        with suppress(ServiceUnavailable):
            return (await self.describe(rpc.DescribeChainsRequest())).offset
        return None

    async def _run(self) -> None:
        offset: int | None = None
        backoff = Backoff(MIN_RETRY_DELAY, MAX_RETRY_DELAY)
        runner_id = self.client.runner.runner_id
        while True:
            request = rpc.WatchJobsRequest(runner_id=runner_id, after_offset=offset)
            call = None
            try:
                with _unavailable_on_failure(self.client.runner):
                    call = self.client.stub.WatchJobs(request)
                    first = await call.read()
                    if isinstance(first, rpc.WatchJobsResponse):
                        started = first.started
                        is_new = offset is None or started.gap
                        self.connected.set()
                        resident = started.request_ids if is_new else None
                        await self._listener.on_start(runner_id, started.offset, resident)
                        offset = started.offset if is_new else offset
                        backoff.reset()
                    while isinstance(response := await call.read(), rpc.WatchJobsResponse):
                        await self._listener.on_events(runner_id, response.events)
                        offset = response.events[-1].offset if response.events else offset
            except SpinCycleError as failure:
                structlog.get_logger().info(
                    "runner stream broken", runner_id=runner_id, cause=_cause(failure)
                )
            finally:
                self.connected.clear()
                if call is not None:
                    call.cancel()
            await backoff.wait()
            await self._on_broken()


@contextmanager
def _unavailable_on_failure(runner: Runner) -> Iterator[None]:
    """Raise ServiceUnavailable for every failure of a call, including a closed channel.

    The channel of a lost runner is closed while calls may still use it. Such a call ends as if
    it had been cancelled.
    """
    try:
        yield
    except (grpc.aio.AioRpcError, grpc.aio.UsageError) as failure:
        raise ServiceUnavailable("the job runner", runner.address) from failure
    except asyncio.CancelledError as failure:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ServiceUnavailable("the job runner", runner.address) from failure


def _cause(failure: SpinCycleError) -> str:
    origin = failure.__cause__
    return (origin.details() or "") if isinstance(origin, grpc.aio.AioRpcError) else str(failure)
