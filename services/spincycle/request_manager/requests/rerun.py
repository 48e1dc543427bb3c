"""Reruns failed and stopped requests, as new requests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import orjson
import structlog

from spincycle.access.caller import Caller
from spincycle.access.limits import CallerLimits
from spincycle.chain.remaining_job_types import remaining_job_types
from spincycle.errors import (
    IdempotencyConflict,
    InvalidInput,
    InvalidState,
    JobNotFound,
    RequestNotFound,
    RerunNotEnded,
    SecretsNotSealed,
    TooManyOpenRequests,
)
from spincycle.model.job_chain import JobChain, SuspendedJobChain, Value, has_secret_args
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.operation import Operation
from spincycle.model.request_id import RequestIds
from spincycle.model.state import State
from spincycle.request_manager.requests.access_control import AccessControl
from spincycle.request_manager.requests.control import RequestControl
from spincycle.request_manager.runners.dispatcher import Dispatcher
from spincycle.request_manager.storage.actor import Actor
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.model import Request, Rerun
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.runtime.off_loop import off_loop
from spincycle.text.nearest import nearest

LARGE_CHAIN = 64 * 1024
"""Bytes of a chain from which the new one is built in a thread."""

RERUNNABLE = frozenset({State.FAIL, State.STOPPED})
"""States in which a request can be rerun."""


class JournalClient(Protocol):
    """Reads and appends journals of requests, in plain types."""

    async def read(self, request_id: str) -> list[JournalEntry]: ...

    async def append(self, entries: Sequence[JournalEntry]) -> None: ...


@dataclass(frozen=True, slots=True)
class ChainCodec:
    """Functions that decode, encode and replay chains."""

    decode: Callable[[bytes], JobChain]
    encode: Callable[[JobChain], bytes]
    encode_suspended: Callable[[SuspendedJobChain], bytes]
    replay: Callable[[JobChain, Iterable[JournalEntry]], SuspendedJobChain]


@dataclass(frozen=True, slots=True)
class RerunParams:
    """Parameters of a rerun.

    Attributes:
        job_ids: jobs to run again with all their successors; without ids, all jobs that are not
            COMPLETE.
        skip: failed jobs to count as COMPLETE; empty means none.
        reason: why it is skipped.
        allow_concurrent: whether other requests with the same root may be live. It is not part of
            the content that an idempotency key stands for.
    """

    request_id: str
    caller: Caller
    job_ids: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    reason: str = ""
    idempotency_key: str = ""
    allow_concurrent: bool = False


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Journal and chain of a rerun, and the saved state from which it is resumed."""

    entries: list[JournalEntry]
    job_chain: bytes
    suspended_job_chain: bytes
    job_types: frozenset[str]
    has_secrets: bool


class RerunCreator:
    """Creates reruns of failed and stopped requests.

    The journal entries that are kept are appended to the journal of the new request before that
    request is stored, so that its journal is complete, also for recovery.

    All requests that descend from the same one by reruns have the same root. At most one of them
    is live, unless a caller allows more.
    """

    def __init__(
        self,
        store: RequestStore,
        archives: ArchiveStore,
        control: RequestControl,
        journal: JournalClient,
        codec: ChainCodec,
        dispatcher: Dispatcher,
        changes: ChangeBus,
        *,
        access: AccessControl,
        limits: CallerLimits,
    ) -> None:
        self._store = store
        self._archives = archives
        self._control = control
        self._journal = journal
        self._codec = codec
        self._dispatcher = dispatcher
        self._changes = changes
        self._access = access
        self._limits = limits
        self._ids = RequestIds()

    async def create(self, params: RerunParams) -> Request:
        """Create the new request.

        Raises:
            AccessDenied: the caller may not do that.
            RequestNotFound, JobNotFound: the request, or the job in it, does not exist.
            InvalidState: the request is neither FAIL nor STOPPED.
            RerunNotEnded: a request with the same root is live, and that is not allowed.
            InvalidInput: the job to skip has not failed, or no reason is given.
            IdempotencyConflict: the key was used with other content.
            RequestUnreadable: the chain is sealed, and cannot be opened.
            SecretsNotSealed: the chain has secrets, which must not be stored in clear.
            TooManyCreations, TooManyOpenRequests: a limit of the caller is reached.
        """
        if existing := await self._existing(params):
            # It has the type of the request, which may have been deleted since.
            await self._authorize(params, existing)
            return existing
        old = await self._control.get(params.request_id)
        actor = await self._authorize(params, old)
        if old.state not in RERUNNABLE:
            raise InvalidState(old.request_id, old.state.name, "FAIL or STOPPED")
        if existing := await self._concurrent(params):
            return existing
        await self._check_limits(actor)
        archived = await self._archives.job_chain(old.request_id)
        if not archived:
            raise RequestNotFound(old.request_id)
        entries = await self._journal.read(old.request_id)
        request_id = self._ids.new()
        prepared = await off_loop(
            len(archived) >= LARGE_CHAIN,
            lambda: self._prepare(params, archived, entries, request_id),
        )
        if prepared.has_secrets and not self._store.accepts_secrets:
            raise SecretsNotSealed(old.type)
        await self._journal.append(prepared.entries)
        rerun = Rerun(
            request_id=request_id,
            rerun_of=old.request_id,
            actor=actor,
            created_at=datetime.now(UTC),
            finished_jobs=len(prepared.entries),
            action="skip" if params.skip else "rerun",
            job_id=",".join(params.skip),
            reason=params.reason,
            idempotency_key=params.idempotency_key,
            content_hash=_content_hash(params),
            job_chain=prepared.job_chain,
            suspended_job_chain=prepared.suspended_job_chain,
            job_types=prepared.job_types,
            allow_concurrent=params.allow_concurrent,
            has_secrets=prepared.has_secrets,
        )
        while not await self._store.create_rerun(rerun):
            await self._control.get(old.request_id)
            if existing := await self._existing(params) or await self._concurrent(params):
                return existing
            # The live rerun that prevented this one has ended since.
        structlog.get_logger().info(
            "rerun created",
            request_id=request_id,
            rerun_of=old.request_id,
            kept=len(prepared.entries),
            user=actor.user,
        )
        self._changes.publish([request_id])
        self._dispatcher.wake()
        return await self._control.get(request_id)

    async def _authorize(self, params: RerunParams, request: Request) -> Actor:
        operation = Operation.SKIP if params.skip else Operation.RERUN
        return await self._access.authorize(
            params.caller, operation, request.type, request_id=params.request_id
        )

    async def _check_limits(self, actor: Actor) -> None:
        self._limits.count_creation(actor.name)
        limit = self._limits.open_requests
        if limit is not None and await self._store.count_open(actor.user) >= limit:
            raise TooManyOpenRequests(actor.user, limit)

    async def _concurrent(self, params: RerunParams) -> Request | None:
        """Return the rerun of a concurrent call with the same key; None if no rerun prevents this.

        Raises:
            RerunNotEnded: a request with the same root is live.
        """
        if params.allow_concurrent:
            return None
        live = await self._store.find_live_rerun(params.request_id)
        if live is None:
            return None
        if existing := await self._existing(params):
            return existing
        rerun_id, state = live
        raise RerunNotEnded(params.request_id, rerun_id, state.name)

    def _prepare(
        self, params: RerunParams, archived: bytes, entries: Sequence[JournalEntry], request_id: str
    ) -> _Prepared:
        chain = self._codec.decode(archived)
        _check(params, chain)
        replayed = self._codec.replay(chain, entries)
        kept = _kept(params, replayed, entries)
        kept += [_skipped(job_id, params, chain, replayed, kept) for job_id in params.skip]
        chain = replace(chain, request_id=request_id)
        kept = [
            replace(entry, request_id=request_id, try_=1, sequence_try=1, position=place, epoch=0)
            for place, entry in enumerate(kept, start=1)
        ]
        # Replaying the journal changes jobs in place, so the chain is encoded first.
        encoded = self._codec.encode(chain)
        suspended = self._codec.replay(chain, kept)
        return _Prepared(
            kept,
            encoded,
            self._codec.encode_suspended(suspended),
            remaining_job_types(suspended),
            has_secret_args(chain),
        )

    async def _existing(self, params: RerunParams) -> Request | None:
        if not params.idempotency_key:
            return None
        found = await self._store.find_by_idempotency_key(
            params.caller.name, params.idempotency_key
        )
        if found is None:
            return None
        request_id, content_hash = found
        if content_hash != _content_hash(params):
            raise IdempotencyConflict(params.idempotency_key, request_id)
        return await self._control.get(request_id)


def _check(params: RerunParams, chain: JobChain) -> None:
    for job_id in (*params.job_ids, *params.skip):
        if job_id not in chain.jobs:
            raise JobNotFound(params.request_id, job_id, _suggestion(job_id, chain))
    if params.skip and not params.reason:
        raise InvalidInput("give a reason for skipping the job; it is recorded", "reason")


def _suggestion(unknown: str, chain: JobChain) -> str:
    """Return a question that names the job whose id or path is given or similar; empty if none."""
    jobs = {text: job for job in chain.jobs.values() for text in (job.id, job.path) if text}
    job = jobs.get(unknown) or jobs.get(nearest(unknown, jobs) or "")
    return f" (did you mean {job.id}, {job.display_name}?)" if job else ""


def _kept(
    params: RerunParams, replayed: SuspendedJobChain, entries: Sequence[JournalEntry]
) -> list[JournalEntry]:
    """Return the last entry of each job that stays COMPLETE, in journal order."""
    jobs = replayed.job_chain.jobs
    run_again = _with_successors(replayed.job_chain, params.job_ids)
    last = {
        entry.job_id: entry
        for entry in sorted(entries, key=lambda entry: entry.position)
        if entry.state is State.COMPLETE
        and jobs[entry.job_id].state is State.COMPLETE
        and entry.job_id not in run_again
    }
    return sorted(last.values(), key=lambda entry: entry.position)


def _with_successors(chain: JobChain, job_ids: Iterable[str]) -> set[str]:
    found: set[str] = set()
    left = list(job_ids)
    while left:
        job_id = left.pop()
        if job_id not in found:
            found.add(job_id)
            left.extend(chain.next_jobs.get(job_id, ()))
    return found


def _skipped(
    job_id: str,
    params: RerunParams,
    chain: JobChain,
    replayed: SuspendedJobChain,
    kept: Sequence[JournalEntry],
) -> JournalEntry:
    """Return the entry of a skipped job: its data are those of its parents."""
    job = chain.jobs[job_id]
    parents = [parent for parent, following in chain.next_jobs.items() if job_id in following]
    data_by_job = {entry.job_id: entry.data or {} for entry in kept}
    if replayed.job_chain.jobs[job_id].state is State.COMPLETE:
        raise InvalidInput(
            f"job {job.display_name} ({job_id}) is COMPLETE, there is nothing to skip", "job_ids"
        )
    if any(parent not in data_by_job for parent in parents):
        raise InvalidInput(
            f"job {job.display_name} ({job_id}) has not failed: it has not been reached", "job_ids"
        )
    data: dict[str, Value] = {}
    for parent in parents:
        data.update(data_by_job[parent])
    return JournalEntry(
        request_id="",
        job_id=job.id,
        try_=1,
        name=job.name,
        type=job.type,
        started_at=0,
        finished_at=0,
        state=State.COMPLETE,
        error=f"skipped by {params.caller.name or 'an unknown user'}: {params.reason}",
        sequence_id=job.sequence_id,
        data=data,
        path=job.path,
    )


def _content_hash(params: RerunParams) -> str:
    # One skipped job is hashed as a text, as it was before a call could skip several.
    skip = "".join(params.skip) if len(params.skip) < 2 else sorted(params.skip)
    content = [params.request_id, sorted(params.job_ids), skip, params.reason]
    return hashlib.sha256(orjson.dumps(content)).hexdigest()
