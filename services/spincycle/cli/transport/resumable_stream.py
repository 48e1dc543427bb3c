"""Streams of one request that resume after a lost connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from spincycle.cli.transport.bearer import CREDENTIAL_RENEWED
from spincycle.cli.transport.merging import merged
from spincycle.cli.transport.output_deduplicator import JobOutput, OutputDeduplicator
from spincycle.errors import SpinCycleError
from spincycle.model.state import FINAL, State
from spincycle.runtime.backoff import Backoff

if TYPE_CHECKING:
    from spincycle.cli.transport.backend import Backend
    from spincycle.v1 import job_log_pb2, request_event_pb2

_RETRYABLE = frozenset(
    {
        "SERVICE_UNAVAILABLE",
        "SHUTTING_DOWN",
        "DATABASE_UNAVAILABLE",
        "WATCHER_TOO_SLOW",
        "DEADLINE_EXCEEDED",
        "UNAVAILABLE",
        "CANCELLED",
        "INTERNAL",
        "UNKNOWN",
        "AUTHENTICATION_UNAVAILABLE",
        CREDENTIAL_RENEWED,
    }
)
"""Reasons after which a stream is reopened."""

FIRST_DELAY = 0.2
"""Seconds before the first reconnect."""

LONGEST_DELAY = 2.0
"""Seconds that the delay grows to."""


class ResumableStream:
    """Reads the events and journal entries of one request over as many connections as needed.

    A failure of the first connection is raised; a later one is retried until the caller closes
    the iterator.
    """

    def __init__(self, backend: Backend, request_id: str) -> None:
        self._backend = backend
        self._request_id = request_id

    async def events(
        self,
        on_connection: Callable[[str], None] = lambda _: None,
        *,
        requests_only: bool = False,
    ) -> AsyncIterator[request_event_pb2.RequestEvent]:
        """Yield every event of the request; never ends by itself.

        Args:
            on_connection: called with the problem when the connection is lost, and with an
                empty text when it works.
            requests_only: leave out events of jobs.
        """
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        cursor, is_known, is_lost = "", False, False
        while True:
            problem = "the stream ended"
            try:
                if is_lost:
                    # A resumed stream is silent until the next change.
                    await self._backend.get(self._request_id)
                    on_connection("")
                async for event in self._backend.watch(
                    self._request_id, cursor, requests_only=requests_only
                ):
                    on_connection("")
                    cursor, is_known = event.cursor or cursor, True
                    backoff.reset()
                    yield event
            except SpinCycleError as error:
                if error.reason == "CURSOR_TOO_OLD":
                    cursor = ""
                elif not is_known or error.reason not in _RETRYABLE:
                    raise
                problem = error.message
            is_lost = True
            on_connection(problem)
            await backoff.wait()

    async def entries(
        self, *, live_output: bool = False, all_output: bool = False
    ) -> AsyncIterator[job_log_pb2.JobLog | JobOutput]:
        """Yield every journal entry as it is stored, until the request has ended.

        The journal is complete when the request is reported as ended, so a last read without
        following returns all that is missing.

        Args:
            live_output: also yield the output of running tries, each byte once; the remaining
                output of a try precedes its entry.
            all_output: also yield the output of tries that ended before the stream was opened;
                otherwise that output is only in their entries.
        """
        deduplicator = OutputDeduplicator()
        async for item in self._items_until_end(live_output=live_output):
            if isinstance(item, JobOutput):
                if piece := deduplicator.unseen(item):
                    yield piece
                continue
            for piece in deduplicator.remaining(item, whole=all_output):
                yield piece
            yield item

    async def final_state(self) -> State:
        """Wait for the request to end and return its final state."""
        async for event in self.events(requests_only=True):
            change = event.WhichOneof("change")
            request = event.snapshot.request if change == "snapshot" else event.request
            if change in {"snapshot", "request"} and State(request.state) in FINAL:
                return State(request.state)
        raise AssertionError("the event stream never ends by itself")

    async def _items_until_end(
        self, *, live_output: bool
    ) -> AsyncIterator[job_log_pb2.JobLog | JobOutput]:
        async def end() -> AsyncIterator[None]:
            await self.final_state()
            yield None

        position = 0
        async with aclosing(merged(self._tail(live_output=live_output), end())) as both:
            async for item in both:
                if item is None:
                    break
                if not isinstance(item, JobOutput):
                    position = item.position
                yield item
        async for item in self._backend.tail(self._request_id, position, follow=False):
            yield item

    async def _tail(self, *, live_output: bool) -> AsyncIterator[job_log_pb2.JobLog | JobOutput]:
        """Yield stored and new entries; output pieces may repeat after a reconnect."""
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        position, is_known = 0, False
        while True:
            try:
                async for item in self._backend.tail(
                    self._request_id, position, follow=True, live_output=live_output
                ):
                    is_known = True
                    backoff.reset()
                    if not isinstance(item, JobOutput):
                        position = item.position
                    yield item
            except SpinCycleError as error:
                if not is_known or error.reason not in _RETRYABLE:
                    raise
            await backoff.wait()
