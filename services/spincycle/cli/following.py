"""Streams of the services that go on where they were when a connection breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.errors import SpinCycleError
from spincycle.state import FINAL, State

if TYPE_CHECKING:
    from spincycle.cli.backend import Backend
    from spincycle.v1 import event_pb2, job_log_pb2

_PASSING = frozenset(
    {
        "SERVICE_UNAVAILABLE", "SHUTTING_DOWN", "DATABASE_UNAVAILABLE", "WATCHER_TOO_SLOW",
        "DEADLINE_EXCEEDED", "UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN",
    }
)  # fmt: skip
"""Reasons after which the same stream can be asked for again."""


@dataclass(slots=True)
class Patience:
    """How long to wait before a broken stream is asked for again.

    Attributes:
        shortest: seconds before the first attempt.
        longest: seconds that the wait grows to.
    """

    shortest: float = 0.2
    longest: float = 2.0


async def watch_events(
    backend: Backend,
    request_id: str,
    on_lost: Callable[[str], None] = lambda _: None,
    requests_only: bool = False,
    patience: Patience | None = None,
) -> AsyncIterator[event_pb2.RequestEvent]:
    """Every event of a request, over as many connections as it takes; the caller ends it.

    A first connection that fails is an error; a later one is tried again for as long as the
    caller wants. `on_lost` is told why a stream broke, and an empty text once it is back.
    """
    patience = patience or Patience()
    cursor, wait, is_known, is_lost = "", patience.shortest, False, False
    while True:
        lost = "the stream ended"
        try:
            if is_lost:
                # A stream that is taken up again is silent until something changes.
                await backend.get(request_id)
                on_lost("")
            async for event in backend.watch(request_id, cursor, requests_only):
                on_lost("")
                cursor, wait, is_known = event.cursor or cursor, patience.shortest, True
                yield event
        except SpinCycleError as error:
            if error.reason == "CURSOR_TOO_OLD":
                cursor = ""
            elif not is_known or error.reason not in _PASSING:
                raise
            lost = error.message
        is_lost = True
        on_lost(lost)
        await asyncio.sleep(wait)
        wait = min(wait * 2, patience.longest)


async def tail_entries(
    backend: Backend, request_id: str, patience: Patience | None = None
) -> AsyncIterator[job_log_pb2.JobLog]:
    """Every journal entry of a request, stored ones and those to come; the caller ends it."""
    patience = patience or Patience()
    position, wait, is_known = 0, patience.shortest, False
    while True:
        try:
            async for entry in backend.tail(request_id, position, follow=True):
                position, wait, is_known = entry.position, patience.shortest, True
                yield entry
        except SpinCycleError as error:
            if not is_known or error.reason not in _PASSING:
                raise
        await asyncio.sleep(wait)
        wait = min(wait * 2, patience.longest)


async def entries_to_the_end(
    backend: Backend, request_id: str
) -> AsyncIterator[job_log_pb2.JobLog]:
    """Every journal entry of a request as it comes, until the request has ended.

    The journal is complete when the request is reported as ended, so that what is stored
    then is all there will be.
    """
    queue: asyncio.Queue[job_log_pb2.JobLog | None] = asyncio.Queue(maxsize=100)

    async def tail() -> None:
        async for entry in tail_entries(backend, request_id):
            await queue.put(entry)

    async def until_ended() -> None:
        await wait_until_ended(backend, request_id)
        await queue.put(None)

    tasks = [asyncio.create_task(tail()), asyncio.create_task(until_ended())]
    position = 0
    try:
        while True:
            entry = await _next(queue, tasks)
            if entry is None:
                break
            position = entry.position
            yield entry
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async for entry in backend.tail(request_id, position, follow=False):
        yield entry


async def _next(
    queue: asyncio.Queue[job_log_pb2.JobLog | None], tasks: list[asyncio.Task[None]]
) -> job_log_pb2.JobLog | None:
    """The next entry, or the failure of a task that feeds the queue."""
    waiting = asyncio.create_task(queue.get())
    try:
        while True:
            await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            for task in [task for task in tasks if task.done()]:
                task.result()
                tasks.remove(task)
    finally:
        waiting.cancel()


async def wait_until_ended(backend: Backend, request_id: str) -> State:
    """The state that the request ends in, once it has ended."""
    async for event in watch_events(backend, request_id, requests_only=True):
        change = event.WhichOneof("change")
        request = event.snapshot.request if change == "snapshot" else event.request
        if change in {"snapshot", "request"} and State(request.state) in FINAL:
            return State(request.state)
    raise AssertionError("the stream of events goes on until it is left")
