"""What runners tell: one stream from each of them, shared by all who watch here."""

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
from spincycle.request_manager.storage.model import Runner
from spincycle.runtime.backoff import Backoff
from spincycle.runtime.process import supervise

FIRST_RETRY = 0.1
LAST_RETRY = 2.0
"""Seconds before a stream that broke is opened again: doubled from the first to the last."""

BEGIN_TIMEOUT = 2.0
"""Seconds that streams have to begin before those who watch go on without them."""

DESCRIBE_TIMEOUT = 5.0
"""Seconds for one call that asks how chains are."""

DESCRIBED_AT_ONCE = 25
"""Most chains in one such call."""


class FeedListener(Protocol):
    """Who hears what runners tell."""

    async def began(self, runner_id: str, order: int, here: Sequence[str] | None) -> None:
        """A stream begins after an order.

        `here` are the requests whose chains the runner has then; None if the stream goes on
        where the last one ended.
        """
        ...

    async def heard(self, runner_id: str, events: Sequence[job_event_pb2.JobEvent]) -> None:
        """A runner told something."""
        ...

    def gone(self, runner_id: str) -> None:
        """A runner tells nothing more, ever."""
        ...


Broke = Callable[[FeedListener], Awaitable[None]]
"""Called when a stream broke, before it is opened again."""


class RunnerFeeds:
    """Keeps a stream open from each live runner, while somebody listens."""

    def __init__(self, runners: RunnerDirectory) -> None:
        self._runners = runners
        self._feeds: dict[str, _Feed] = {}

    async def refresh(self, hearer: FeedListener, *, anew: bool = False) -> None:
        """Open streams from runners that came, and forget those that are gone.

        Raises:
            DatabaseUnavailable: it is not known which runners there are.
        """
        if anew:
            self._runners.forget()
        live = await self._runners.live()
        for runner_id in [known for known in self._feeds if known not in live]:
            self._feeds.pop(runner_id).close()
            hearer.gone(runner_id)
        for runner_id, client in live.items():
            if runner_id not in self._feeds:
                self._feeds[runner_id] = _Feed(client, hearer, self._look_again)

    async def begun(self) -> None:
        """Return when every stream has begun, or after a while without those that have not."""
        waiting = [asyncio.ensure_future(feed.connected.wait()) for feed in self._feeds.values()]
        try:
            if waiting:
                await asyncio.wait(waiting, timeout=BEGIN_TIMEOUT)
        finally:
            for task in waiting:
                task.cancel()

    @property
    def known(self) -> list[str]:
        """Ids of the runners from which there is a stream, or the wish for one."""
        return list(self._feeds)

    def knows(self, runner_id: str) -> bool:
        """Whether there is a stream from a runner, or the wish for one."""
        return runner_id in self._feeds

    def hears(self, runner_id: str) -> bool:
        """Whether a runner can tell something now; of a runner without id, whether any can."""
        if not runner_id:
            return any(feed.connected.is_set() for feed in self._feeds.values())
        feed = self._feeds.get(runner_id)
        return feed is not None and feed.connected.is_set()

    def address(self, runner_id: str) -> str:
        """Address of a runner, host:port; empty if it is gone."""
        feed = self._feeds.get(runner_id)
        return feed.client.runner.address if feed else ""

    async def describe(
        self, runner_id: str, chains: Iterable[rpc.KnownChain], *, each: bool = False
    ) -> tuple[dict[str, rpc.ChainStatus], int]:
        """How chains of a runner are, by request, and the order up to which that goes.

        Those that it does not have are missing, and, unless `each` is wanted, those of which it
        cannot tell yet.

        Raises:
            ServiceUnavailable: the runner does not answer.
            JournalBehind: it cannot tell of each yet.
        """
        found: dict[str, rpc.ChainStatus] = {}
        order = 0
        feed = self._feeds.get(runner_id)
        if feed is None:
            return found, order
        named = list(chains)
        for start in range(0, len(named), DESCRIBED_AT_ONCE):
            some = named[start : start + DESCRIBED_AT_ONCE]
            response = await feed.describe(rpc.DescribeChainsRequest(chains=some))
            if each and response.uncommitted_request_ids:
                raise JournalBehind
            found |= {chain.request_id: chain for chain in response.chains}
            order = response.order
        return found, order

    async def orders(self) -> dict[str, int]:
        """Order of the last event of each runner that answers."""
        connected = [id_ for id_, feed in self._feeds.items() if feed.connected.is_set()]
        asked = [self._feeds[runner_id].order() for runner_id in connected]
        orders = zip(connected, await asyncio.gather(*asked), strict=True)
        return {runner_id: order for runner_id, order in orders if order is not None}

    async def missed(
        self, runner_id: str, after: int, until: int
    ) -> list[job_event_pb2.JobEvent] | None:
        """Events of a runner between two orders; None if it does not answer.

        Raises:
            LookupError: it no longer has them all.
        """
        feed = self._feeds.get(runner_id)
        if feed is None:
            return None
        if after == until:
            return []
        events: list[job_event_pb2.JobEvent] = []
        request = rpc.WatchJobsRequest(runner_id=runner_id, resume=True, after_order=after)
        with suppress(ServiceUnavailable), _speaking_with(feed.client.runner):
            call = feed.client.stub.WatchJobs(request, timeout=DESCRIBE_TIMEOUT)
            try:
                while not events or events[-1].order < until:
                    response = await call.read()
                    if not isinstance(response, rpc.WatchJobsResponse):
                        return None
                    if response.gap:
                        raise LookupError(runner_id)
                    events.extend(response.events)
            finally:
                call.cancel()
            return [event for event in events if event.order <= until]
        return None

    def close(self) -> list[asyncio.Task[None]]:
        """End all streams; answers the tasks that end."""
        tasks = [feed.close() for feed in self._feeds.values()]
        self._feeds.clear()
        return tasks

    async def _look_again(self, hearer: FeedListener) -> None:
        try:
            await self.refresh(hearer, anew=True)
        except DatabaseUnavailable:
            return


class _Feed:
    """The stream from one runner, opened again and again until it is closed."""

    def __init__(self, client: RunnerClient, hearer: FeedListener, broke: Broke) -> None:
        self.client = client
        self.connected = asyncio.Event()
        self._hearer = hearer
        self._broke = broke
        self._task = asyncio.create_task(supervise("stream of a runner", self._run))

    def close(self) -> asyncio.Task[None]:
        """End it; answers the task that ends."""
        self.connected.clear()
        self._task.cancel()
        return self._task

    async def describe(self, request: rpc.DescribeChainsRequest) -> rpc.DescribeChainsResponse:
        """Ask the runner how chains are.

        Raises:
            ServiceUnavailable: it does not answer.
        """
        try:
            with _speaking_with(self.client.runner):
                return await self.client.stub.DescribeChains(request, timeout=DESCRIBE_TIMEOUT)
        except ServiceUnavailable as failure:
            runner_id = self.client.runner.runner_id
            structlog.get_logger().warning(
                "chains not described", runner_id=runner_id, cause=_cause(failure)
            )
            raise

    async def order(self) -> int | None:
        """Order of the runner's last event; None if it does not answer."""
        with suppress(ServiceUnavailable):
            return (await self.describe(rpc.DescribeChainsRequest())).order
        return None

    async def _run(self) -> None:
        order: int | None = None
        backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        runner_id = self.client.runner.runner_id
        while True:
            request = rpc.WatchJobsRequest(
                runner_id=runner_id, resume=order is not None, after_order=order or 0
            )
            call = None
            try:
                with _speaking_with(self.client.runner):
                    call = self.client.stub.WatchJobs(request)
                    first = await call.read()
                    if isinstance(first, rpc.WatchJobsResponse):
                        is_anew = order is None or first.gap
                        self.connected.set()
                        here = first.request_ids if is_anew else None
                        await self._hearer.began(runner_id, first.order, here)
                        order = first.order if is_anew else order
                        backoff.reset()
                    while isinstance(response := await call.read(), rpc.WatchJobsResponse):
                        await self._hearer.heard(runner_id, response.events)
                        order = response.events[-1].order if response.events else order
            except SpinCycleError as failure:
                structlog.get_logger().info(
                    "stream of a runner broke", runner_id=runner_id, cause=_cause(failure)
                )
            finally:
                self.connected.clear()
                if call is not None:
                    call.cancel()
            await backoff.wait()
            await self._broke(self._hearer)


@contextmanager
def _speaking_with(runner: Runner) -> Iterator[None]:
    """However a call fails, ServiceUnavailable is raised; also if its channel was closed.

    Channels to runners that are gone are closed, whoever is still using them. A call that is under
    way then ends as if it had been cancelled.
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
