"""What the archive and the journal know of a request."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError

from spincycle.chain.remaining_job_types import remaining_job_types
from spincycle.errors import InvalidChain, RequestNotFound
from spincycle.model.job_chain import JobChain, SuspendedJobChain
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.request_arg import REDACTED
from spincycle.model.revision import LAST_EPOCH
from spincycle.request_manager.codec import encode_arg
from spincycle.request_manager.runners.crash_backoff import losses, wait_after
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.job_log_client import JobLogClient
from spincycle.request_manager.storage.model import Orphan, OtherFence, Suspended
from spincycle.request_manager.storage.stored_args import StoredArgs
from spincycle.request_manager.watch.unreadable import request_failure
from spincycle.runtime.off_loop import LARGE_BYTES, LARGE_CHAIN_BYTES, off_loop
from spincycle.v1 import job_chain_pb2, request_pb2
from spincycle.wire.chain import decode_chain, encode_suspended_chain

Rebuild = Callable[[JobChain, list[JournalEntry], int], SuspendedJobChain]
"""The state of a chain after the entries of its journal, lost by a runner under an epoch."""


class ChainArchive:
    """Puts requests together from what is stored of them."""

    def __init__(self, store: ArchiveStore, job_log: JobLogClient, rebuild: Rebuild) -> None:
        self._store = store
        self._job_log = job_log
        self._rebuild = rebuild

    async def archive(self, request_id: str, *, with_chain: bool) -> bytes:
        """Return what never changes of a request, as a serialized Request with nothing else in it.

        Raises:
            RequestUnreadable: what is stored cannot be read.
        """
        args = await self._store.stored_args(request_id)
        chain = await self._archived(request_id) if with_chain else b""
        is_large = len(args.text) >= LARGE_BYTES or len(chain) >= LARGE_CHAIN_BYTES
        try:
            return await off_loop(is_large, lambda: _archive(args, chain, with_chain=with_chain))
        except Exception as cause:  # noqa: BLE001 # what is stored can be anything
            raise request_failure(request_id, cause)

    async def chain(self, request_id: str) -> job_chain_pb2.JobChain:
        """The chain of a request as it was created, secrets left out.

        Raises:
            RequestNotFound: there is no such request.
            RequestUnreadable: its archived chain is damaged.
        """
        archived = await self._archived(request_id)
        try:
            return await off_loop(len(archived) >= LARGE_CHAIN_BYTES, lambda: _shown(archived))
        except DecodeError as cause:
            raise request_failure(request_id, cause)

    async def _archived(self, request_id: str) -> bytes:
        chains = await self._store.job_chains([request_id])
        if request_id not in chains:
            raise RequestNotFound(request_id)
        return chains[request_id]

    async def rebuild(self, orphan: Orphan, archived: bytes) -> Suspended:
        """The state in which a request can go on after its runner was lost.

        Raises:
            InvalidChain: the archive has no chain of it or a damaged one, the journal fits none,
            or it has used up its epochs.
            OtherFence: the journal accepts only entries of a higher epoch, or still accepts some of
            lower ones; call again.
        """
        if not archived:
            raise InvalidChain(orphan.request_id, "its chain is not in the archive")
        # Whatever the old runner still has on its way is refused from here on, so the journal
        # that is read next is all there will ever be of its epoch.
        in_force = await self._job_log.fence(orphan.request_id, orphan.epoch)
        if in_force != orphan.epoch:
            raise OtherFence(in_force)
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
        state = self._rebuild(chain, entries, orphan.epoch - 1)
        last_epoch = max((entry.epoch for entry in entries), default=0)
        lost = losses(orphan.epoch, max(last_epoch, orphan.losses_since))
        wait = wait_after(lost)
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
        )


def _archive(args: StoredArgs, chain: bytes, *, with_chain: bool) -> bytes:
    message = request_pb2.Request(args=map(encode_arg, args.parse()))
    if with_chain:
        message.job_chain.CopyFrom(_shown(chain))
    return message.SerializeToString()


def _shown(archived: bytes) -> job_chain_pb2.JobChain:
    chain = job_chain_pb2.JobChain.FromString(archived)
    leave_secrets_out(chain)
    return chain


def leave_secrets_out(chain: job_chain_pb2.JobChain) -> None:
    """Replace secret arguments of a chain that people get to see.

    A job may have put them into its bytes, and may tell them to its successors.
    """
    for job in chain.jobs:
        if job.secret_args:
            job.ClearField("bytes")
            for name in job.secret_args:
                job.args[name] = REDACTED
