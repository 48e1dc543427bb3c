"""Reads archived requests, and rebuilds their state from archive and journal."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError

from spincycle.chain.remaining_job_types import remaining_job_types
from spincycle.errors import InvalidChain, RequestNotFound
from spincycle.model.job_chain import JobChain, SuspendedJobChain, has_secret_args
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.request_arg import REDACTED
from spincycle.model.revision import LAST_EPOCH
from spincycle.request_manager.codec import encode_arg
from spincycle.request_manager.crash_backoff import backoff_after, losses
from spincycle.request_manager.request_encoding import request_failure
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.job_log_client import JobLogClient
from spincycle.request_manager.storage.model import FenceMismatch, Orphan, Suspended
from spincycle.request_manager.storage.stored_args import StoredArgs
from spincycle.runtime.off_loop import LARGE_BYTES, LARGE_CHAIN_BYTES, off_loop
from spincycle.v1 import job_chain_pb2, request_pb2
from spincycle.wire.chain import decode_chain, encode_suspended_chain

Rebuild = Callable[[JobChain, list[JournalEntry], int, int], SuspendedJobChain]
"""Returns the state of a chain from its journal, the epoch of the lost runner and the start of the
request, as `rebuild.rebuild`."""


class ChainArchive:
    """Decodes archived requests, and rebuilds the chains of lost runners."""

    def __init__(self, store: ArchiveStore, job_log: JobLogClient, rebuild: Rebuild) -> None:
        self._store = store
        self._job_log = job_log
        self._rebuild = rebuild

    async def archive(self, request_id: str, *, with_chain: bool) -> bytes:
        """Return the immutable part of a request as a serialized Request: arguments and chain.

        Raises:
            RequestUnreadable: the stored data cannot be read.
        """
        args = await self._store.stored_args(request_id)
        chain = await self._archived(request_id) if with_chain else b""
        is_large = len(args.text) >= LARGE_BYTES or len(chain) >= LARGE_CHAIN_BYTES
        try:
            return await off_loop(is_large, lambda: _archive(args, chain, with_chain=with_chain))
        except Exception as cause:  # noqa: BLE001 # what is stored can be anything
            raise request_failure(request_id, cause)

    async def chain(self, request_id: str) -> job_chain_pb2.JobChain:
        """Return the chain of a request as it was created, with secrets redacted.

        Raises:
            RequestNotFound: the request does not exist.
            RequestUnreadable: its archived chain is damaged, or sealed and cannot be opened.
        """
        archived = await self._archived(request_id)
        try:
            return await off_loop(len(archived) >= LARGE_CHAIN_BYTES, lambda: _redacted(archived))
        except DecodeError as cause:
            raise request_failure(request_id, cause)

    async def _archived(self, request_id: str) -> bytes:
        chain = await self._store.job_chain(request_id)
        if not chain:
            raise RequestNotFound(request_id)
        return chain

    async def rebuild(self, orphan: Orphan, archived: bytes) -> Suspended:
        """Return the state from which a request of a lost runner can be resumed.

        Raises:
            InvalidChain: its archived chain is missing or damaged, its journal does not match the
                chain, or its epochs are used up.
            FenceMismatch: the journal accepts only entries of a higher epoch, or still accepts
                entries of lower ones; call again.
        """
        if not archived:
            raise InvalidChain(orphan.request_id, "its chain is not in the archive")
        # From here on entries of the lost runner are refused, so the journal that is read next is
        # complete.
        in_force = await self._job_log.fence(orphan.request_id, orphan.epoch)
        if in_force != orphan.epoch:
            raise FenceMismatch(in_force)
        if orphan.epoch >= LAST_EPOCH:
            raise InvalidChain(
                orphan.request_id,
                f"the request has reached epoch {orphan.epoch}, and can be assigned to no further "
                "runner; rerun it",
            )
        entries = await self._job_log.read(orphan.request_id)
        is_large = len(archived) >= LARGE_CHAIN_BYTES
        return await off_loop(is_large, lambda: self._rebuilt(orphan, archived, entries))

    def _rebuilt(self, orphan: Orphan, archived: bytes, entries: list[JournalEntry]) -> Suspended:
        try:
            chain = decode_chain(job_chain_pb2.JobChain.FromString(archived))
        except (DecodeError, ValueError) as damage:
            raise InvalidChain(orphan.request_id, f"its archived chain is damaged: {damage}")
        state = self._rebuild(chain, entries, orphan.epoch - 1, orphan.started_at)
        last_epoch = max((entry.epoch for entry in entries), default=0)
        lost = losses(orphan.epoch, max(last_epoch, orphan.losses_since))
        wait = backoff_after(lost)
        reason = f"runner {orphan.runner_id} was lost"
        if wait:
            reason += f", as were {lost - 1} before it while no try ended; waits {wait:.0f} s"
        return Suspended(
            request_id=orphan.request_id,
            epoch=orphan.epoch,
            finished_jobs=state.job_chain.finished_jobs,
            reason=reason,
            suspended_job_chain=encode_suspended_chain(state).SerializeToString(),
            job_types=remaining_job_types(state),
            wait=wait,
            has_secrets=has_secret_args(chain),
        )


def _archive(args: StoredArgs, chain: bytes, *, with_chain: bool) -> bytes:
    message = request_pb2.Request(args=map(encode_arg, args.parse()))
    if with_chain:
        message.job_chain.CopyFrom(_redacted(chain))
    return message.SerializeToString()


def _redacted(archived: bytes) -> job_chain_pb2.JobChain:
    chain = job_chain_pb2.JobChain.FromString(archived)
    redact_chain(chain)
    return chain


def redact_chain(chain: job_chain_pb2.JobChain) -> None:
    """Redact the secret arguments of a chain, in place.

    Their jobs' bytes are removed, too, since a job may have put the arguments into them.
    """
    for job in chain.jobs:
        if job.secret_args:
            job.ClearField("bytes")
            for name in job.secret_args:
                job.args[name] = REDACTED
