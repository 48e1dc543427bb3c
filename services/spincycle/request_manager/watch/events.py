"""Watch events: each is encoded once for all subscribers that receive it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import orjson

from spincycle.errors import ChainTooLarge, SpinCycleError
from spincycle.internal.v1 import job_event_pb2
from spincycle.model.revision import encode_revision, ended, number_of, revision_of
from spincycle.model.state import LIVE, State
from spincycle.request_manager.request_encoding import encode_or_report, request_failure
from spincycle.request_manager.storage.model import Request, RequestFilter
from spincycle.rpc.limits import MAX_MESSAGE_BYTES
from spincycle.rpc.status import to_message
from spincycle.v1 import (
    job_chain_pb2,
    job_log_pb2,
    job_output_pb2,
    request_event_pb2,
    request_pb2,
    status_pb2,
)

_EVENTS_TAG = b"\x0a"
_CURSOR_TAG = b"\x12"
_EVENT_CURSOR_TAG = b"\x1a"
"""Tags of WatchResponse.events, WatchResponse.cursor and RequestEvent.cursor on the wire."""

_OVERHEAD_BYTES = 500
"""Approximate memory of an event in addition to its encoded bytes."""

SYNCED = b"\x18\x01"
"""WatchResponse.synced on the wire."""


class EncodedEvent:
    """One event, encoded for any number of subscribers.

    Attributes:
        request: the request at the time of the event, except for its counts.
        before: its previous state; None if that is not known, which excludes final states.
        revision: revision of the request.
        is_snapshot: whether the event is a whole request with its jobs.
    """

    __slots__ = ("_brief", "_full", "_messages", "before", "is_snapshot", "request", "revision")

    def __init__(
        self,
        request: Request,
        before: State | None,
        revision: int,
        full: request_event_pb2.RequestEvent,
        brief: request_event_pb2.RequestEvent | None,
    ) -> None:
        """Encode an event; `brief` is its form without jobs, None if it has none."""
        self.request = request
        self.before = before
        self.revision = revision
        self.is_snapshot = full.HasField("snapshot")
        self._full = full.SerializeToString()
        self._brief = self._full if brief is full else brief.SerializeToString() if brief else b""
        self._messages: dict[tuple[str, bool], bytes] = {}

    @property
    def size(self) -> int:
        """Approximate size in memory, in bytes."""
        return _OVERHEAD_BYTES + len(self._full)

    @property
    def is_end(self) -> bool:
        """Whether this is the last event of the request."""
        return self.revision == ended(self.request.epoch)

    def encoded(self, cursor: str, requests_only: bool) -> bytes:  # noqa: FBT001 # a hot path
        """Return a WatchResponse with this event; empty if `requests_only` excludes it."""
        key = (cursor, requests_only)
        message = self._messages.get(key)
        if message is None:
            event = self._brief if requests_only else self._full
            message = self._messages[key] = _frame(event, cursor) if event else b""
        return message

    async def with_chain(
        self, chain_of: Callable[[str], Awaitable[job_chain_pb2.JobChain]], cursor: str
    ) -> bytes:
        """Return a WatchResponse with this snapshot and the request's chain.

        If the chain cannot be read or is too large, the snapshot has `Request.error` instead.
        """
        event = request_event_pb2.RequestEvent.FromString(self._full)
        request_id = self.request.request_id
        try:
            event.snapshot.job_chain.CopyFrom(self._fitting(await chain_of(request_id)))
        except Exception as cause:  # noqa: BLE001 # request_failure raises shared failures again
            failure = request_failure(request_id, cause)
            event.snapshot.request.error.CopyFrom(to_message(failure))
        return _frame(event.SerializeToString(), cursor)

    def _fitting(self, chain: job_chain_pb2.JobChain) -> job_chain_pb2.JobChain:
        if chain.ByteSize() + self.size > MAX_MESSAGE_BYTES:
            raise ChainTooLarge(self.request.request_id, len(chain.jobs))
        return chain


def request_event(
    request: Request,
    before: State | None,
    revision: int,
    finished_jobs: int = 0,
    failure: SpinCycleError | None = None,
) -> EncodedEvent:
    """Return the event of a new state, or of a failure to read the request."""
    event = _new_event(request.request_id, revision)
    event.occurred_at.GetCurrentTime()
    _fill_request(event.request, request, revision, failure)
    if finished_jobs > event.request.finished_jobs:
        event.request.finished_jobs = event.request.counts.finished = finished_jobs
    return EncodedEvent(request, before, revision, event, event)


def snapshot_event(
    request: Request,
    before: State | None,
    revision: int,
    snapshot: request_event_pb2.RequestSnapshot,
) -> EncodedEvent:
    """Return the event of a whole request."""
    event = _new_event(request.request_id, revision)
    event.occurred_at.GetCurrentTime()
    event.snapshot.CopyFrom(snapshot)
    event.snapshot.request.revision = event.revision
    return EncodedEvent(request, before, revision, event, event)


def job_event(request: Request, source: job_event_pb2.JobEvent, *, counted: bool) -> EncodedEvent:
    """Return the event of a changed job; `counted`: it changed the counts of the request."""
    revision = revision_of(source.epoch, source.sequence_number)
    event = request_event_pb2.RequestEvent(
        request_id=request.request_id,
        revision=encode_revision(revision),
        occurred_at=source.occurred_at,
        job=source.job,
        counts=source.counts,
    )
    event.counts.total = request.total_jobs
    brief = None
    if counted:
        brief = _new_event(request.request_id, revision)
        brief.occurred_at.CopyFrom(source.occurred_at)
        _fill_request(brief.request, request, revision)
        brief.request.finished_jobs = source.counts.finished
        brief.request.counts.CopyFrom(event.counts)
    return EncodedEvent(request, request.state, revision, event, brief)


def runner_events(request: Request, source: job_event_pb2.JobEvent) -> Iterator[EncodedEvent]:
    """Yield what a runner's event is to subscribers: one event, or none for a released chain."""
    if source.transition == job_event_pb2.CHAIN_TRANSITION_STARTED:
        at = revision_of(source.epoch, source.sequence_number)
        yield request_event(request, State.PENDING, at)
    elif source.transition == job_event_pb2.CHAIN_TRANSITION_UNSPECIFIED:
        yield job_event(request, source, counted=True)


def entry_event(request: Request, entry: job_log_pb2.JobLog) -> EncodedEvent:
    """Return the event of the end of a try, from its journal entry."""
    revision = entry_revision(entry)
    event = _new_event(request.request_id, revision)
    event.occurred_at.CopyFrom(entry.finished_at)
    event.job.CopyFrom(entry_status(entry))
    return EncodedEvent(request, request.state, revision, event, None)


def entry_revision(entry: job_log_pb2.JobLog) -> int:
    """Return the revision of the end of the entry's try."""
    return revision_of(entry.epoch, number_of(entry.position, 0))


def entry_status(entry: job_log_pb2.JobLog) -> status_pb2.JobStatus:
    """Return the status of a job after the entry's try."""
    status = status_pb2.JobStatus(
        request_id=entry.request_id,
        job_id=entry.job_id,
        type=entry.type,
        name=entry.name,
        state=entry.state,
        sequence_id=entry.sequence_id,
        error=entry.error,
        path=entry.path,
    )
    status.try_number = entry.try_number
    if entry.HasField("started_at"):
        status.started_at.CopyFrom(entry.started_at)
    if entry.HasField("finished_at"):
        status.finished_at.CopyFrom(entry.finished_at)
    return status


def output_event(output: job_output_pb2.JobOutput, revision: int, cursor: str) -> bytes:
    """Return a WatchResponse with output, at the revision of the event before it."""
    event = _new_event(output.request_id, revision)
    event.occurred_at.GetCurrentTime()
    event.output.CopyFrom(output)
    return _frame(event.SerializeToString(), cursor)


def cursor_message(cursor: str) -> bytes:
    """Return a WatchResponse with a cursor only."""
    encoded = cursor.encode()
    return _CURSOR_TAG + _varint(len(encoded)) + encoded


def matches(request: Request, before: State | None, which: RequestFilter) -> bool:
    """Return whether a filter selects an event, by its request and the state before it."""
    if which.types is not None and request.type not in which.types:
        return False
    if which.type not in ("", request.type) or which.user not in ("", request.user):
        return False
    if which.states and request.state not in which.states:
        states = LIVE if before is None else {before}
        if states.isdisjoint(which.states):
            return False
    if not which.args:
        return True
    given = orjson.loads(request.given_args)
    return all(given.get(name) == value for name, value in which.args.items())


def _new_event(request_id: str, revision: int) -> request_event_pb2.RequestEvent:
    return request_event_pb2.RequestEvent(request_id=request_id, revision=encode_revision(revision))


def _fill_request(
    message: request_pb2.Request,
    request: Request,
    revision: int,
    failure: SpinCycleError | None = None,
) -> None:
    message.CopyFrom(encode_or_report(request, failure=failure))
    message.revision = encode_revision(revision)


def _frame(event: bytes, cursor: str) -> bytes:
    """Return a WatchResponse with one encoded event, to which a cursor is added."""
    encoded = cursor.encode()
    if encoded:
        event += _EVENT_CURSOR_TAG + _varint(len(encoded)) + encoded
    return _EVENTS_TAG + _varint(len(event)) + event


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)
