"""What is told of requests: events, encoded once for all who watch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import orjson

from spincycle.errors import ChainTooLarge, SpinCycleError
from spincycle.internal.v1 import job_event_pb2
from spincycle.model.revision import encode_revision, ended, number_of, revision_of
from spincycle.model.state import LIVE, State
from spincycle.request_manager.storage.model import Request, RequestFilter
from spincycle.request_manager.watch.unreadable import encode_or_report, request_failure
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
_PLACE_TAG = b"\x12"
_CURSOR_TAG = b"\x1a"
"""Fields WatchResponse.events, WatchResponse.cursor and RequestEvent.cursor on the wire."""

SYNCED = b"\x18\x01"
"""WatchResponse.synced on the wire."""


class EncodedEvent:
    """One event, as it goes to many.

    Attributes:
        request: the request as it was then, but for its counts.
        before: its state before; None if it is not known, and may have been any but a final one.
    """

    __slots__ = ("_brief", "_framed", "_full", "_snapshot", "before", "request", "revision")

    def __init__(
        self,
        request: Request,
        before: State | None,
        revision: int,
        full: request_event_pb2.RequestEvent,
        brief: request_event_pb2.RequestEvent | None,
    ) -> None:
        """`brief` is for those who want no jobs; None if there is nothing for them."""
        self.request = request
        self.before = before
        self.revision = revision
        self._snapshot = full.HasField("snapshot")
        self._full = full.SerializeToString()
        self._brief = self._full if brief is full else brief.SerializeToString() if brief else b""
        self._framed: dict[tuple[str, bool], bytes] = {}

    @property
    def is_snapshot(self) -> bool:
        """Whether it is the request as a whole."""
        return self._snapshot

    async def with_chain(
        self, chain_of: Callable[[str], Awaitable[job_chain_pb2.JobChain]], cursor: str
    ) -> bytes:
        """As `encoded`, of a snapshot, with the request's chain.

        If the request has none that can be read and sent, the snapshot comes without it and says
        why.
        """
        event = request_event_pb2.RequestEvent.FromString(self._full)
        request_id = self.request.request_id
        try:
            event.snapshot.job_chain.CopyFrom(self._fitting(await chain_of(request_id)))
        except Exception as cause:  # noqa: BLE001 # a failure of all requests is raised again
            failure = request_failure(request_id, cause)
            event.snapshot.request.error.CopyFrom(to_message(failure))
        return framed(event.SerializeToString(), cursor)

    def _fitting(self, chain: job_chain_pb2.JobChain) -> job_chain_pb2.JobChain:
        if chain.ByteSize() + self.size > MAX_MESSAGE_BYTES:
            raise ChainTooLarge(self.request.request_id, len(chain.jobs))
        return chain

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 500 + len(self._full)

    @property
    def is_end(self) -> bool:
        """Whether nothing follows of the request."""
        return self.revision == ended(self.request.epoch)

    def encoded(self, cursor: str, requests_only: bool) -> bytes:
        """A WatchResponse with this event and no other; empty if it is not told at all."""
        key = (cursor, requests_only)
        known = self._framed.get(key)
        if known is None:
            event = self._brief if requests_only else self._full
            known = self._framed[key] = framed(event, cursor) if event else b""
        return known


def framed(event: bytes, cursor: str) -> bytes:
    """A WatchResponse with one event, which is given a cursor."""
    told = cursor.encode()
    if told:
        event += _CURSOR_TAG + _varint(len(told)) + told
    return _EVENTS_TAG + _varint(len(event)) + event


def output_event(piece: job_output_pb2.JobOutput, revision: int, cursor: str) -> bytes:
    """A WatchResponse that tells output, at the revision of the event before it."""
    event = _event(piece.request_id, revision)
    event.occurred_at.GetCurrentTime()
    event.output.CopyFrom(piece)
    return framed(event.SerializeToString(), cursor)


def cursor_alone(cursor: str) -> bytes:
    """A WatchResponse that tells where the stream is, and nothing else."""
    told = cursor.encode()
    return _PLACE_TAG + _varint(len(told)) + told


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def request_change(
    request: Request,
    before: State | None,
    revision: int,
    finished_jobs: int = 0,
    failure: SpinCycleError | None = None,
) -> EncodedEvent:
    """Return the event of a new state, or of what could not be read of a request."""
    event = _event(request.request_id, revision)
    event.occurred_at.GetCurrentTime()
    _fill_request(event.request, request, revision, failure)
    if finished_jobs > event.request.finished_jobs:
        event.request.finished_jobs = event.request.counts.finished = finished_jobs
    return EncodedEvent(request, before, revision, event, event)


def snapshot_change(
    request: Request,
    before: State | None,
    revision: int,
    snapshot: request_event_pb2.RequestSnapshot,
) -> EncodedEvent:
    """Return the event of a request as a whole."""
    event = _event(request.request_id, revision)
    event.occurred_at.GetCurrentTime()
    event.snapshot.CopyFrom(snapshot)
    event.snapshot.request.revision = event.revision
    return EncodedEvent(request, before, revision, event, event)


def job_change(request: Request, told: job_event_pb2.JobEvent, *, counted: bool) -> EncodedEvent:
    """A job has changed; `counted` if the counts of the request moved with it."""
    revision = revision_of(told.epoch, told.sequence_number)
    event = request_event_pb2.RequestEvent(
        request_id=request.request_id,
        revision=encode_revision(revision),
        occurred_at=told.occurred_at,
        job=told.job,
        counts=told.counts,
    )
    event.counts.total = request.total_jobs
    brief = None
    if counted:
        brief = _event(request.request_id, revision)
        brief.occurred_at.CopyFrom(told.occurred_at)
        _fill_request(brief.request, request, revision)
        brief.request.finished_jobs = told.counts.finished
        brief.request.counts.CopyFrom(event.counts)
    return EncodedEvent(request, request.state, revision, event, brief)


def runner_changes(request: Request, told: job_event_pb2.JobEvent) -> Iterator[EncodedEvent]:
    """What a runner told of a request that it runs, as an event; none if its chain has left."""
    if told.transition == job_event_pb2.CHAIN_TRANSITION_STARTED:
        at = revision_of(told.epoch, told.sequence_number)
        yield request_change(request, State.PENDING, at)
    elif told.transition == job_event_pb2.CHAIN_TRANSITION_UNSPECIFIED:
        yield job_change(request, told, counted=True)


def entry_change(request: Request, entry: job_log_pb2.JobLog) -> EncodedEvent:
    """A try has ended, as the journal says of it."""
    revision = entry_revision(entry)
    event = _event(request.request_id, revision)
    event.occurred_at.CopyFrom(entry.finished_at)
    event.job.CopyFrom(entry_status(entry))
    return EncodedEvent(request, request.state, revision, event, None)


def entry_revision(entry: job_log_pb2.JobLog) -> int:
    """Revision of the end of the entry's try."""
    return revision_of(entry.epoch, number_of(entry.position, 0))


def entry_status(entry: job_log_pb2.JobLog) -> status_pb2.JobStatus:
    """How a job was when a try of it had ended."""
    status = status_pb2.JobStatus(
        request_id=entry.request_id,
        job_id=entry.job_id,
        type=entry.type,
        name=entry.name,
        state=entry.state,
        sequence_id=entry.sequence_id,
        error=entry.error,
    )
    status.try_number = entry.try_number
    if entry.HasField("started_at"):
        status.started_at.CopyFrom(entry.started_at)
    if entry.HasField("finished_at"):
        status.finished_at.CopyFrom(entry.finished_at)
    return status


def matches(request: Request, before: State | None, which: RequestFilter) -> bool:
    """Whether a change of a request is for somebody who watches by a filter. See Change."""
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


def _event(request_id: str, revision: int) -> request_event_pb2.RequestEvent:
    return request_event_pb2.RequestEvent(request_id=request_id, revision=encode_revision(revision))


def _fill_request(
    message: request_pb2.Request,
    request: Request,
    revision: int,
    failure: SpinCycleError | None = None,
) -> None:
    message.CopyFrom(encode_or_report(request, failure=failure))
    message.revision = encode_revision(revision)
