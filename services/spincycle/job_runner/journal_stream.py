"""Stream of journal entries to the job log, and of acknowledgements back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import structlog

from spincycle.batching.lru import Lru
from spincycle.errors import EntryConflict, InvalidEntry, NotYours, SpinCycleError, StaleEpoch
from spincycle.identity.append_grants import AppendGrant
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.job_runner.ports import CommitListener
from spincycle.model.journal_entry import JournalEntry
from spincycle.rpc.channel import Dial, open_channel
from spincycle.rpc.status import from_rpc_error
from spincycle.runtime.backoff import Backoff
from spincycle.v1 import job_log_pb2
from spincycle.wire.append_grants import encode_grant
from spincycle.wire.journal import encode_entry

MAX_BATCH = 500
"""Maximum entries per batch."""

MAX_BATCH_BYTES = 4 * 1024 * 1024
"""Size in bytes from which no further entry is added to a batch."""

MAX_BACKLOG_BYTES = 64 * 1024 * 1024
"""Size in bytes of the unacknowledged entries from which the runner starts nothing new."""

GATHER_TURNS = 4
"""Maximum turns of the event loop for which a batch is held back to gather entries.

A short job that an acknowledgement starts appends its own entry after two or three turns; so the
entries of all chains share one batch. A batch as large as the last one is sent immediately."""

FIRST_RETRY = 0.1
LAST_RETRY = 2.0
"""Seconds before a broken stream is reopened: doubled from the first to the last."""

SHOWN_GRANTS = 4096
"""Grants of which the runner assumes that the job log still has them, on one stream."""

Identity = tuple[str, str, int]


@dataclass(slots=True)
class _PendingEntry:
    """An unacknowledged entry.

    Attributes:
        since: time of the event loop at which it was appended, in seconds.
        size: size of the encoded entry in bytes.
    """

    entry: job_log_pb2.JobLog
    listener: CommitListener
    since: float
    size: int

    @property
    def identity(self) -> Identity:
        return self.entry.request_id, self.entry.job_id, self.entry.try_number


@dataclass(slots=True)
class _Stream:
    """State of one connection.

    Attributes:
        batches: number of batches sent.
        sent: the unacknowledged batches by number.
        acknowledged: whether a batch was acknowledged.
        shown: the grants that were sent, by request id and epoch.
    """

    batches: int = 0
    sent: dict[int, list[_PendingEntry]] = field(default_factory=dict)
    acknowledged: bool = False
    shown: Lru[tuple[str, int], AppendGrant] = field(default_factory=lambda: Lru(SHOWN_GRANTS))

    def unshown_grants(self, batch: list[_PendingEntry]) -> list[AppendGrant]:
        """Return the grants that the job log needs for a batch and does not have; call it once."""
        grants = []
        for pending in batch:
            grant = pending.listener.append_grant
            if grant is None:
                continue
            key = pending.entry.request_id, pending.entry.epoch
            # The job log looks up the same keys in the same order, and so forgets none of them.
            if self.shown.get(key) is None:
                self.shown.put(key, grant)
                grants.append(grant)
        return grants


class JournalStream:
    """Appends entries to the job log in order, and retries without limit.

    Entries that are unacknowledged when the stream breaks are resent on the next one; the job
    log stores each entry once.
    """

    def __init__(self, address: str, dial: Dial = open_channel) -> None:
        self._address = address
        self._channel = dial(address)
        self._stub = JournalServiceStub(self._channel)
        self._pending: deque[_PendingEntry] = deque()
        self._backlog = 0
        self._stream = _Stream()
        self._wakeup = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: list[Callable[[], None]] = []

    def append(self, entry: JournalEntry, listener: CommitListener) -> None:
        """Append an entry; `listener` is called when it is committed or refused.

        It is refused with StaleEpoch if another runner owns the request, with an error of reason
        NOT_YOURS if the job log refuses the listener's grant, and with EntryConflict or
        InvalidEntry if the job log will never store it.
        """
        if self._loop is None:
            # get_running_loop costs a system call, and append is called for every job.
            self._loop = asyncio.get_running_loop()
        message = encode_entry(entry)
        pending = _PendingEntry(message, listener, self._loop.time(), message.ByteSize())
        self._pending.append(pending)
        self._backlog += pending.size
        self._wakeup.set()

    @property
    def full(self) -> bool:
        """Whether the runner should start nothing new until entries are acknowledged."""
        return self._backlog >= MAX_BACKLOG_BYTES

    def on_capacity(self, listener: Callable[[], None]) -> None:
        """Call `listener` each time the stream is no longer full."""
        self._listeners.append(listener)

    @property
    def oldest_unacknowledged(self) -> float:
        """Age of the oldest unacknowledged entry in seconds; 0 if there is none."""
        since = [batch[0].since for batch in self._stream.sent.values()]
        since += [self._pending[0].since] if self._pending else []
        return asyncio.get_running_loop().time() - min(since) if since else 0.0

    async def run(self) -> None:
        """Keep a stream open and send the appended entries, until cancelled."""
        log = structlog.get_logger()
        backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        while True:
            call = self._stub.Append(wait_for_ready=True)
            refusal: SpinCycleError | None = None
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._send(call))
                    group.create_task(self._receive(call))
            except* (grpc.aio.AioRpcError, asyncio.InvalidStateError, ConnectionError) as failures:
                refusal = await _refusal(call)
                if refusal is None:
                    log.warning("journal stream broke", cause=_cause(failures.exceptions[0]))
            finally:
                call.cancel()
                if self._stream.acknowledged:
                    backoff.reset()
                self._requeue()
            if refusal is not None and self._refuse(refusal):
                # The entries of the other chains must not wait.
                continue
            await backoff.wait()

    async def close(self) -> None:
        """Close the channel; unacknowledged entries are not sent."""
        await self._channel.close()

    async def _send(
        self,
        call: grpc.aio.StreamStreamCall[journal_pb2.AppendRequest, journal_pb2.AppendResponse],
    ) -> None:
        expected = 0
        while True:
            await self._wakeup.wait()
            if not self._pending or self._stream.sent:
                self._wakeup.clear()
                continue
            for _ in range(GATHER_TURNS):
                if len(self._pending) >= expected:
                    break
                await asyncio.sleep(0)
            batch = self._next_batch()
            expected = len(batch)
            self._stream.batches += 1
            number = self._stream.batches
            self._stream.sent[number] = batch
            await call.write(
                journal_pb2.AppendRequest(
                    batch=number,
                    entries=[pending.entry for pending in batch],
                    grants=map(encode_grant, self._stream.unshown_grants(batch)),
                )
            )

    async def _receive(
        self,
        call: grpc.aio.StreamStreamCall[journal_pb2.AppendRequest, journal_pb2.AppendResponse],
    ) -> None:
        async for response in call:
            refused = {
                (refusal.request_id, refusal.job_id, refusal.try_number): refusal
                for refusal in response.refused
            }
            self._stream.acknowledged = True
            was_full = self.full
            for number in [number for number in self._stream.sent if number <= response.batch]:
                _notify(self._stream.sent[number], refused)
                # Removed last: if a listener raises, the batch is resent and notified again.
                self._backlog -= sum(pending.size for pending in self._stream.sent.pop(number))
            self._wakeup.set()
            self._announce_capacity(was_full=was_full)
        raise ConnectionError("the job log ended the stream")

    def _next_batch(self) -> list[_PendingEntry]:
        batch: list[_PendingEntry] = []
        size = 0
        while self._pending and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            pending = self._pending.popleft()
            batch.append(pending)
            size += pending.size
        return batch

    def _refuse(self, error: SpinCycleError) -> bool:
        """Refuse the pending entries of the request that an error names; return if there were any.

        The other entries are sent on the next stream.
        """
        request_id = error.request_id_or_empty
        refused = [each for each in self._pending if each.entry.request_id == request_id]
        structlog.get_logger().error(
            "entries refused by the job log",
            request_id=request_id,
            entries=len(refused),
            error=error.message,
        )
        was_full = self.full
        self._pending = deque(each for each in self._pending if each.entry.request_id != request_id)
        self._backlog -= sum(pending.size for pending in refused)
        for listener in dict.fromkeys(pending.listener for pending in refused):
            listener.refused(error)
        self._announce_capacity(was_full=was_full)
        return bool(refused)

    def _announce_capacity(self, *, was_full: bool) -> None:
        if was_full and not self.full:
            for listener in self._listeners:
                listener()

    def _requeue(self) -> None:
        sent = [pending for batch in self._stream.sent.values() for pending in batch]
        self._pending.extendleft(reversed(sent))
        self._stream = _Stream()
        self._wakeup.set()


def _notify(batch: list[_PendingEntry], refused: dict[Identity, journal_pb2.RefusedEntry]) -> None:
    """Notify each listener of a batch of its last committed position and of its refusals."""
    committed: dict[CommitListener, int] = {}
    for pending in batch:
        refusal = refused.get(pending.identity) if refused else None
        if refusal is None:
            committed[pending.listener] = pending.entry.position
        else:
            pending.listener.refused(_error(refusal, pending.entry.epoch))
    for listener, position in committed.items():
        listener.committed(position)


def _error(refusal: journal_pb2.RefusedEntry, epoch: int) -> SpinCycleError:
    try_number = refusal.try_number
    if refusal.error.reason == "STALE_EPOCH":
        return StaleEpoch(refusal.request_id, epoch, refusal.current_epoch)
    if refusal.error.reason == "ENTRY_CONFLICT":
        return EntryConflict(refusal.request_id, refusal.job_id, try_number)
    return InvalidEntry(refusal.request_id, refusal.job_id, refusal.error.message)


async def _refusal(
    call: grpc.aio.StreamStreamCall[journal_pb2.AppendRequest, journal_pb2.AppendResponse],
) -> SpinCycleError | None:
    """Return the error if the job log ended the stream because an entry is not this runner's."""
    if not call.done() or await call.code() is not grpc.StatusCode.PERMISSION_DENIED:
        return None
    status = grpc.aio.AioRpcError(
        await call.code(),
        await call.initial_metadata(),
        await call.trailing_metadata(),
        await call.details(),
    )
    error = from_rpc_error(status, "job log", "")
    return error if error.reason == NotYours.reason else None


def _cause(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.details() or error.code().name
    return str(error)
