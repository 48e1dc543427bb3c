"""A Watch call, and the changes of requests that it reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from tests.integration.request_manager.conftest import Manager, SteeredRunner, until

from spincycle.internal.v1 import job_event_pb2
from spincycle.model.revision import waiting
from spincycle.model.state import State
from spincycle.v1 import request_event_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

RUNNING = state_pb2.STATE_RUNNING
COMPLETE = state_pb2.STATE_COMPLETE


class Received:
    """The messages that one Watch call received."""

    def __init__(self) -> None:
        self.messages: list[rpc.WatchResponse] = []
        self.events: list[request_event_pb2.RequestEvent] = []
        self.cursor = ""
        self.failure: grpc.aio.AioRpcError | None = None

    def of(self, request_id: str) -> list[str]:
        """Events of a request, abbreviated."""
        return [short(event) for event in self.events if event.request_id == request_id]

    def states_of(self, request_id: str) -> list[int]:
        """States of a request in its events and snapshots."""
        return [
            request.state
            for event in self.events
            if event.request_id == request_id
            for request in (event.snapshot.request, event.request)
            if request.id
        ]


def short(event: request_event_pb2.RequestEvent) -> str:
    what = event.WhichOneof("change")
    if what == "job":
        return f"{event.job.job_id} {State(event.job.state).name}"
    request = event.snapshot.request if what == "snapshot" else event.request
    jobs = "".join(f" {job.job_id}" for job in event.snapshot.jobs)
    return f"{what} {State(request.state).name}{jobs}"


@asynccontextmanager
async def watching(manager: Manager, **fields: Any) -> AsyncIterator[Received]:
    """A Watch call that has received its first events."""
    received = Received()
    started = asyncio.Event()

    async def watch() -> None:
        try:
            await read()
        except grpc.aio.AioRpcError as failure:
            received.failure = failure
            raise

    async def read() -> None:
        async for response in manager.stub.Watch(rpc.WatchRequest(**fields)):
            received.messages.append(response)
            received.events += response.events
            for cursor in (*(event.cursor for event in response.events), response.cursor):
                received.cursor = cursor or received.cursor
            if fields.get("request_ids") or received.cursor:
                started.set()

    task = asyncio.create_task(watch())
    waiting = asyncio.create_task(started.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield received
    finally:
        for each in (task, waiting):
            each.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)


async def publish_job(
    runner: SteeredRunner,
    request_id: str,
    job_id: str,
    state: state_pb2.State.ValueType,
    number: int,
) -> None:
    """Publish a changed job, with its sequence number."""
    event = job_event_pb2.JobEvent()
    event.job.request_id, event.job.job_id = request_id, job_id
    event.job.state = state
    await runner.publish(request_id, job=event.job, sequence_number=number)


async def running_request(manager: Manager, runner: SteeredRunner) -> str:
    """Create a request; return its id when the runner has its chain."""
    request_id = (await manager.create()).request.id
    await until(lambda: request_id in runner.chains)
    return request_id


def revisions_of(events: list[request_event_pb2.RequestEvent]) -> list[tuple[str, int]]:
    """Request and revision of each event, except those of waiting requests."""
    revisions = ((event.request_id, int(event.revision)) for event in events)
    return sorted(one for one in revisions if one[1] > waiting(0))
