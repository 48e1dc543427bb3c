"""Following requests and their jobs: a snapshot first, then every change.

Request changes are heard from the request managers, job changes from the runner that has the
request. Messages pass through here as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import grpc

from spincycle.errors import RequestNotFound
from spincycle.request_manager.changes import Changes
from spincycle.request_manager.model import Request, RequestFilter
from spincycle.request_manager.runners import RunnerDirectory
from spincycle.request_manager.store import RequestStore
from spincycle.state import FINAL, LIVE, State
from spincycle.v1 import event_pb2, job_runner_service_pb2, request_pb2

EPOCH_BITS = 32
"""A revision is the epoch above the number of the event within the epoch."""

LAST_OF_EPOCH = (1 << EPOCH_BITS) - 1
"""Number of the event that ends an epoch: the request has ended, or lost its runner."""

RETRY_INTERVAL = 0.5
"""Seconds before a runner whose stream ended is asked again."""

Snapshot = Callable[[Request, bool], Awaitable[event_pb2.RequestSnapshot]]
"""The request with its arguments, its jobs as journalled, and its chain if that is asked for."""

Encode = Callable[[Request], request_pb2.Request]
"""A request as a message, without arguments and chain."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What a watcher wants to see."""

    include_job_chain: bool = False
    requests_only: bool = False


class Watch:
    """Follows requests for one caller after another."""

    def __init__(
        self,
        store: RequestStore,
        runners: RunnerDirectory,
        changes: Changes,
        snapshot: Snapshot,
        encode: Encode,
    ) -> None:
        self._store = store
        self._runners = runners
        self._changes = changes
        self._snapshot = snapshot
        self._encode = encode

    async def one(
        self, request_id: str, options: WatchOptions, seen: int = 0
    ) -> AsyncIterator[event_pb2.RequestEvent]:
        """Every event of one request after revision `seen`, until it has ended.

        Raises:
            RequestNotFound: there is no such request.
            DatabaseUnavailable: it cannot be followed now.
        """
        changed = asyncio.Event()
        self._changes.listen(listener := lambda _: changed.set(), [request_id])
        try:
            first = True
            while True:
                changed.clear()
                request = (await self._store.get([request_id])).get(request_id)
                if request is None:
                    raise RequestNotFound(request_id)
                if request.state is State.RUNNING and not options.requests_only:
                    async for event in self._running(request, options, first, changed):
                        if event.revision > seen:
                            seen = event.revision
                            first = False
                            yield event
                else:
                    revision = _revision(request)
                    if revision > seen or (first and not seen):
                        seen = revision
                        yield await self._whole(request, options, first, revision)
                    if request.state in FINAL:
                        return
                    first = False
                    await changed.wait()
        finally:
            self._changes.forget(listener, [request_id])

    async def many(
        self, which: RequestFilter, options: WatchOptions
    ) -> AsyncIterator[event_pb2.RequestEvent]:
        """Changes of all live requests that match, also of those to come, until cancelled."""
        changed: set[str] = set()
        something = asyncio.Event()

        def listener(request_id: str) -> None:
            changed.add(request_id)
            something.set()

        self._changes.listen(listener)
        try:
            told: dict[str, int] = {}
            states = which.states or tuple(sorted(LIVE))
            live = RequestFilter(which.type, states, which.user, which.args)
            for request in await self._store.find(live, limit=1000):
                told[request.request_id] = _revision(request)
                yield await self._whole(request, options, True, _revision(request))
            while True:
                await something.wait()
                something.clear()
                request_ids = [request_id for request_id in changed if request_id]
                changed.clear()
                for request in (await self._store.get(request_ids)).values():
                    revision = _revision(request)
                    if _matches(request, which) and told.get(request.request_id, -1) < revision:
                        new = request.request_id not in told
                        told[request.request_id] = revision
                        if request.state in FINAL:
                            del told[request.request_id]
                        yield await self._whole(request, options, new, revision)
        finally:
            self._changes.forget(listener)

    async def _whole(
        self, request: Request, options: WatchOptions, first: bool, revision: int
    ) -> event_pb2.RequestEvent:
        event = event_pb2.RequestEvent(
            request_id=request.request_id, revision=revision, cursor=str(revision)
        )
        event.occurred_at.GetCurrentTime()
        if first or request.state in FINAL:
            with_chain = options.include_job_chain and first
            event.snapshot.CopyFrom(await self._snapshot(request, with_chain))
            event.snapshot.request.revision = revision
        else:
            event.request.CopyFrom(self._encode(request))
            event.request.revision = revision
        return event

    async def _running(
        self, request: Request, options: WatchOptions, first: bool, changed: asyncio.Event
    ) -> AsyncIterator[event_pb2.RequestEvent]:
        """Events of a request from its runner, until the request changes or the runner is gone."""
        client = (await self._runners.live()).get(request.runner_id)
        if client is None:
            await _within(RETRY_INTERVAL, changed)
            return
        asked = job_runner_service_pb2.WatchJobsRequest(request_ids=[request.request_id])
        call = client.stub.WatchJobs(asked)
        change = asyncio.ensure_future(changed.wait())
        begun = False
        try:
            while True:
                read = asyncio.ensure_future(call.read())
                await asyncio.wait({read, change}, return_when=asyncio.FIRST_COMPLETED)
                if not read.done():
                    read.cancel()
                    return
                response = read.result()
                if not isinstance(response, job_runner_service_pb2.WatchJobsResponse):
                    await _within(RETRY_INTERVAL, changed)
                    return
                if not begun:
                    begun = True
                    yield await self._taken_up(request, options, first, list(response.events))
                    continue
                for event in response.events:
                    yield _told(event)
        except grpc.aio.AioRpcError:
            await _within(RETRY_INTERVAL, changed)
        finally:
            change.cancel()
            call.cancel()

    async def _taken_up(
        self,
        request: Request,
        options: WatchOptions,
        first: bool,
        events: list[event_pb2.JobEvent],
    ) -> event_pb2.RequestEvent:
        """The snapshot with which a runner's stream begins: it knows the jobs best."""
        number = max((event.sequence_number for event in events), default=1)
        revision = (request.epoch << EPOCH_BITS) + number
        event = event_pb2.RequestEvent(
            request_id=request.request_id, revision=revision, cursor=str(revision)
        )
        event.occurred_at.GetCurrentTime()
        with_chain = options.include_job_chain and first
        snapshot = event.snapshot
        snapshot.CopyFrom(await self._snapshot(request, with_chain))
        snapshot.request.revision = revision
        if events:
            snapshot.request.finished_jobs = events[-1].finished_jobs
            jobs = {job.job_id: job for job in snapshot.jobs}
            jobs |= {event.job.job_id: event.job for event in events}
            snapshot.ClearField("jobs")
            snapshot.jobs.extend(jobs.values())
        return event


def _told(event: event_pb2.JobEvent) -> event_pb2.RequestEvent:
    revision = (event.epoch << EPOCH_BITS) + event.sequence_number
    return event_pb2.RequestEvent(
        request_id=event.job.request_id,
        revision=revision,
        cursor=str(revision),
        occurred_at=event.occurred_at,
        job=event.job,
    )


def _revision(request: Request) -> int:
    """Revision of a state that no runner tells of."""
    if request.state in FINAL:
        number = LAST_OF_EPOCH
    elif request.state is State.SUSPENDED:
        number = LAST_OF_EPOCH - 1
    else:
        number = 1
    return (request.epoch << EPOCH_BITS) + number


def _matches(request: Request, which: RequestFilter) -> bool:
    return (
        which.type in ("", request.type)
        and which.user in ("", request.user)
        and (not which.states or request.state in which.states)
    )


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for the event, but no longer than this."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
