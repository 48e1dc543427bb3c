"""Streams of the services that go on where they were when a connection breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.cli.render.printed import JobOutput, OutputDeduplicator
from spincycle.cli.transport.merging import merged
from spincycle.errors import SpinCycleError
from spincycle.model.state import FINAL, State
from spincycle.runtime.backoff import Backoff

if TYPE_CHECKING:
    from spincycle.cli.transport.backend import Backend
    from spincycle.v1 import job_log_pb2, request_event_pb2

_PASSING = frozenset(
    {
        "SERVICE_UNAVAILABLE", "SHUTTING_DOWN", "DATABASE_UNAVAILABLE", "WATCHER_TOO_SLOW",
        "DEADLINE_EXCEEDED", "UNAVAILABLE", "CANCELLED", "INTERNAL", "UNKNOWN",
    }
)  # fmt: skip
"""Reasons after which the same stream can be asked for again."""


@dataclass(slots=True)
class ReconnectDelay:
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
    patience: ReconnectDelay | None = None,
) -> AsyncIterator[request_event_pb2.RequestEvent]:
    """Every event of a request, over as many connections as it takes; the caller ends it.

    A first connection that fails is an error; a later one is tried again for as long as the
    caller wants. `on_lost` is told why a stream broke, and an empty text once it is back.
    """
    patience = patience or ReconnectDelay()
    backoff = Backoff(patience.shortest, patience.longest)
    cursor, is_known, is_lost = "", False, False
    while True:
        lost = "the stream ended"
        try:
            if is_lost:
                # A stream that is taken up again is silent until something changes.
                await backend.get(request_id)
                on_lost("")
            async for event in backend.watch(request_id, cursor, requests_only):
                on_lost("")
                cursor, is_known = event.cursor or cursor, True
                backoff.reset()
                yield event
        except SpinCycleError as error:
            if error.reason == "CURSOR_TOO_OLD":
                cursor = ""
            elif not is_known or error.reason not in _PASSING:
                raise
            lost = error.message
        is_lost = True
        on_lost(lost)
        await backoff.wait()


async def tail(
    backend: Backend, request_id: str, live_output: bool, patience: ReconnectDelay | None = None
) -> AsyncIterator[job_log_pb2.JobLog | JobOutput]:
    """Every journal entry of a request, stored ones and those to come; the caller ends it.

    With `live_output` also what running tries print; after a break some of it comes again.
    """
    patience = patience or ReconnectDelay()
    backoff = Backoff(patience.shortest, patience.longest)
    position, is_known = 0, False
    while True:
        try:
            async for told in backend.tail(request_id, position, True, live_output):
                is_known = True
                backoff.reset()
                if not isinstance(told, JobOutput):
                    position = told.position
                yield told
        except SpinCycleError as error:
            if not is_known or error.reason not in _PASSING:
                raise
        await backoff.wait()


async def entries_to_the_end(
    backend: Backend, request_id: str, live_output: bool = False, all_output: bool = False
) -> AsyncIterator[job_log_pb2.JobLog | JobOutput]:
    """Every journal entry of a request as it comes, until the request has ended.

    With `live_output` also what running tries print, each byte once: what remains of it comes
    before the entry of its try. With `all_output` so does the output of tries that had ended
    before; without, that is in their entries only.

    The journal is complete when the request is reported as ended, so that what is stored
    then is all there will be.
    """
    printed = OutputDeduplicator()
    async for told in _to_the_end(backend, request_id, live_output):
        if isinstance(told, JobOutput):
            if piece := printed.new(told):
                yield piece
            continue
        for piece in printed.rest(told, whole=all_output):
            yield piece
        yield told


async def _to_the_end(
    backend: Backend, request_id: str, live_output: bool
) -> AsyncIterator[job_log_pb2.JobLog | JobOutput]:
    async def ended() -> AsyncIterator[None]:
        await wait_until_ended(backend, request_id)
        yield None

    position = 0
    async with aclosing(merged(tail(backend, request_id, live_output), ended())) as both:
        async for told in both:
            if told is None:
                break
            if not isinstance(told, JobOutput):
                position = told.position
            yield told
    async for told in backend.tail(request_id, position, follow=False):
        yield told


async def wait_until_ended(backend: Backend, request_id: str) -> State:
    """The state that the request ends in, once it has ended."""
    async for event in watch_events(backend, request_id, requests_only=True):
        change = event.WhichOneof("change")
        request = event.snapshot.request if change == "snapshot" else event.request
        if change in {"snapshot", "request"} and State(request.state) in FINAL:
            return State(request.state)
    raise AssertionError("the stream of events goes on until it is left")
