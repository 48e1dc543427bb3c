"""A client that watches with its last cursor, whatever happens, and keeps all it was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc

from spincycle.model.revision import parts_of
from spincycle.model.state import FINAL, State
from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_event_pb2, request_manager_service_pb2_grpc
from spincycle.v1 import request_manager_service_pb2 as rpc

Stub = request_manager_service_pb2_grpc.RequestManagerServiceStub
AGAIN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED}


class Follower:
    """Follows one stream over as many connections as it takes."""

    def __init__(self, address: str, asked: rpc.WatchRequest) -> None:
        self._address = address
        self._asked = asked
        self._call: grpc.aio.UnaryStreamCall[rpc.WatchRequest, rpc.WatchResponse] | None = None
        self.events: list[request_event_pb2.RequestEvent] = []
        self.connections = 0
        self.ended = False
        self.news = asyncio.Condition()

    @property
    def cursor(self) -> str:
        """The last cursor that was told."""
        return self._asked.cursor

    async def run(self) -> None:
        """Follow until the stream ends by itself."""
        while not self.ended:
            channel = open_channel(self._address)
            try:
                self._call = Stub(channel).Watch(self._asked)
                self.connections += 1
                async for response in self._call:
                    await self._take(response)
                self.ended = True
            except grpc.aio.AioRpcError as failure:
                if failure.code() not in AGAIN:
                    raise
            except asyncio.CancelledError:
                # The call was cut by the test, unless this task was.
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    raise
            finally:
                await channel.close()
            await asyncio.sleep(0.02)

    def cut(self) -> None:
        """Break the connection, as a client does that dies."""
        assert self._call is not None
        self._call.cancel()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something holds of what was told."""
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(holds)

    def ends(self, request_id: str, journal: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """(job, try) of each try whose end was told, in the order in which it was.

        A later snapshot of a request that runs tells those, too, that had ended before it: they
        stand among its jobs.
        """
        told: list[tuple[str, int]] = []
        reached = 0
        mine = [event for event in self.events if event.request_id == request_id]
        for place, event in enumerate(mine):
            _, position, step = parts_of(int(event.revision))
            if not 0 < position <= len(journal):
                continue
            if event.HasField("job") and not step:
                told.append((event.job.job_id, event.job.try_number))
            elif place and event.HasField("snapshot"):
                jobs = [(job.job_id, job.try_number) for job in event.snapshot.jobs]
                told += [end for end in journal[reached:position] if end in jobs]
            reached = position
        return told

    def has_ended(self, request_id: str) -> bool:
        """Whether the end of a request was told."""
        return any(self.final(request_id))

    def final(self, request_id: str) -> list[State]:
        """Final states that were told of a request."""
        told = [
            event.request.state if event.HasField("request") else event.snapshot.request.state
            for event in self.events
            if event.request_id == request_id and not event.HasField("job")
        ]
        return [State(state) for state in told if State(state) in FINAL]

    async def _take(self, response: rpc.WatchResponse) -> None:
        async with self.news:
            for event in response.events:
                self.events.append(event)
                self._asked.cursor = event.cursor or self._asked.cursor
            self._asked.cursor = response.cursor or self._asked.cursor
            self.news.notify_all()


@asynccontextmanager
async def following(address: str, **asked: object) -> AsyncIterator[Follower]:
    """A follower at work."""
    follower = Follower(address, rpc.WatchRequest(**asked))  # type: ignore[arg-type]
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def check_order(follower: Follower, *, snapshots_come_again: bool = False) -> None:
    """Revisions rise with every event of a request: nothing is told twice."""
    seen: dict[str, str] = {}
    for event in follower.events:
        rises = event.revision > seen.get(event.request_id, "")
        if snapshots_come_again and event.HasField("snapshot") and not rises:
            continue
        assert rises, shown(follower, event.request_id)
        seen[event.request_id] = event.revision


def shown(follower: Follower, request_id: str) -> str:
    """What was told of a request, a line an event, for a failure's report."""
    lines = []
    for event in follower.events:
        if event.request_id != request_id:
            continue
        place = ".".join(map(str, parts_of(int(event.revision))))
        match event.WhichOneof("change"):
            case "job":
                what = f"job {event.job.job_id} try {event.job.try_number}"
                what += f" {State(event.job.state).name}"
            case "request":
                what = f"request {State(event.request.state).name}"
            case _:
                jobs = [(job.job_id, job.try_number) for job in event.snapshot.jobs]
                what = f"snapshot {State(event.snapshot.request.state).name} {jobs}"
        lines.append(f"{place:<16} {what}  [{event.cursor}]")
    return "\n".join(lines)
