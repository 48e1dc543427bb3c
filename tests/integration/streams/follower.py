"""A client that resumes a Watch stream from its last cursor and keeps all events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

from spincycle.model.revision import parts_of
from spincycle.model.state import FINAL, State
from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_event_pb2, request_manager_service_pb2_grpc
from spincycle.v1 import request_manager_service_pb2 as rpc

Stub = request_manager_service_pb2_grpc.RequestManagerServiceStub
RETRYABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Follower:
    """Follows one stream over any number of connections."""

    def __init__(self, address: str, request: rpc.WatchRequest) -> None:
        self._address = address
        self._request = request
        self._call: grpc.aio.UnaryStreamCall[rpc.WatchRequest, rpc.WatchResponse] | None = None
        self.events: list[request_event_pb2.RequestEvent] = []
        self.connections = 0
        self.ended = False
        self._changed = asyncio.Condition()

    @property
    def cursor(self) -> str:
        """The last cursor received."""
        return self._request.cursor

    async def run(self) -> None:
        """Follow until the server ends the stream."""
        while not self.ended:
            channel = open_channel(self._address)
            try:
                self._call = Stub(channel).Watch(self._request)
                self.connections += 1
                async for response in self._call:
                    await self._receive(response)
                self.ended = True
            except grpc.aio.AioRpcError as failure:
                if failure.code() not in RETRYABLE:
                    raise
            except asyncio.CancelledError:
                # The test cancelled the call, unless it cancelled this task.
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
            finally:
                await channel.close()
            await asyncio.sleep(0.02)

    def disconnect(self) -> None:
        """Cancel the call, like a client that dies."""
        assert self._call is not None
        self._call.cancel()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when a condition on the received events holds."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(condition)

    async def until_next_event(self) -> None:
        """Return when an event more than now was received."""
        seen = len(self.events)
        await self.until(lambda: len(self.events) > seen)

    async def until_ended(self, request_id: str) -> None:
        """Return when the end of a request was received."""
        await self.until(lambda: self.has_ended(request_id))

    async def until_resumable(self) -> None:
        """Return when there is a cursor from which a new stream continues."""
        await self.until(lambda: bool(self.cursor))

    def ends_of_tries(
        self, request_id: str, journal: list[tuple[str, int]]
    ) -> list[tuple[str, int]]:
        """(job, try) of each try whose end was received, in order.

        The jobs of a later snapshot of a running request count, too, if their tries had ended.
        """
        ends: list[tuple[str, int]] = []
        reached = 0
        mine = [event for event in self.events if event.request_id == request_id]
        for index, event in enumerate(mine):
            _, position, step = parts_of(int(event.revision))
            if not 0 < position <= len(journal):
                continue
            if event.HasField("job") and not step:
                ends.append((event.job.job_id, event.job.try_number))
            elif index and event.HasField("snapshot"):
                jobs = [(job.job_id, job.try_number) for job in event.snapshot.jobs]
                ends += [end for end in journal[reached:position] if end in jobs]
            reached = position
        return ends

    def has_ended(self, request_id: str) -> bool:
        """Whether the end of a request was received."""
        return any(self.final_states(request_id))

    def final_states(self, request_id: str) -> list[State]:
        """Final states received of a request."""
        states = [
            event.request.state if event.HasField("request") else event.snapshot.request.state
            for event in self.events
            if event.request_id == request_id and not event.HasField("job")
        ]
        return [State(state) for state in states if State(state) in FINAL]

    async def _receive(self, response: rpc.WatchResponse) -> None:
        async with self._changed:
            for event in response.events:
                self.events.append(event)
                self._request.cursor = event.cursor or self._request.cursor
            self._request.cursor = response.cursor or self._request.cursor
            self._changed.notify_all()


@asynccontextmanager
async def following(address: str, **fields: Any) -> AsyncIterator[Follower]:
    """A running follower."""
    follower = Follower(address, rpc.WatchRequest(**fields))
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def check_order(follower: Follower, *, repeated_snapshots: bool = False) -> None:
    """Check that revisions rise with every event of a request, so that none is received twice."""
    seen: dict[str, str] = {}
    for event in follower.events:
        rises = event.revision > seen.get(event.request_id, "")
        if repeated_snapshots and event.HasField("snapshot") and not rises:
            continue
        assert rises, report(follower, event.request_id)
        seen[event.request_id] = event.revision


def report(follower: Follower, request_id: str) -> str:
    """Return the events of a request, one per line, for the message of a failure."""
    lines = []
    for event in follower.events:
        if event.request_id != request_id:
            continue
        revision = ".".join(map(str, parts_of(int(event.revision))))
        match event.WhichOneof("change"):
            case "job":
                what = f"job {event.job.job_id} try {event.job.try_number}"
                what += f" {State(event.job.state).name}"
            case "request":
                what = f"request {State(event.request.state).name}"
            case _:
                jobs = [(job.job_id, job.try_number) for job in event.snapshot.jobs]
                what = f"snapshot {State(event.snapshot.request.state).name} {jobs}"
        lines.append(f"{revision:<16} {what}  [{event.cursor}]")
    return "\n".join(lines)
