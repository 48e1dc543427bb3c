"""Running a request again from where it failed, as a new request beside the old one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import orjson
import structlog

from spincycle.chain.remaining_job_types import remaining_job_types
from spincycle.errors import IdempotencyConflict, InvalidInput, InvalidState, JobNotFound
from spincycle.model.job_chain import JobChain, SuspendedJobChain, Value
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.request_id import RequestIds
from spincycle.model.state import State
from spincycle.request_manager.requests.control import RequestControl
from spincycle.request_manager.runners.dispatcher import Dispatcher
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.model import Request, Rerun
from spincycle.request_manager.storage.store import RequestStore
from spincycle.runtime.off_loop import off_loop

LARGE_CHAIN = 64 * 1024
"""Bytes of a chain from which the new one is made in a thread."""

AGAIN = frozenset({State.FAIL, State.STOPPED})
"""States of a request that can be run again."""


class JournalReader(Protocol):
    """The journal of requests, in plain types."""

    async def read(self, request_id: str) -> list[JournalEntry]: ...

    async def append(self, entries: Sequence[JournalEntry]) -> None: ...


@dataclass(frozen=True, slots=True)
class ChainCode:
    """How chains are read and written, and what state a journal leaves one in."""

    decode: Callable[[bytes], JobChain]
    encode: Callable[[JobChain], bytes]
    encode_suspended: Callable[[SuspendedJobChain], bytes]
    replay: Callable[[JobChain, Iterable[JournalEntry]], SuspendedJobChain]


@dataclass(frozen=True, slots=True)
class RerunParams:
    """Who wants which request to be run again.

    Attributes:
        job_ids: jobs to run again with all their successors; none means what is not COMPLETE.
        skip: failed jobs that count as done; empty means none.
        reason: why it is skipped.
    """

    request_id: str
    user: str
    job_ids: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    reason: str = ""
    idempotency_key: str = ""


@dataclass(frozen=True, slots=True)
class _Made:
    """A request that is run again: its journal, its chain and the state in which it goes on."""

    entries: list[JournalEntry]
    job_chain: bytes
    suspended_job_chain: bytes
    job_types: frozenset[str]


class RerunCreator:
    """Makes new requests out of failed and stopped ones.

    What is kept of the old request is copied into the journal of the new one before the new
    one is stored, so that the new journal tells the whole story, also to recovery.
    """

    def __init__(
        self,
        store: RequestStore,
        control: RequestControl,
        journal: JournalReader,
        code: ChainCode,
        dispatcher: Dispatcher,
        changes: ChangeBus,
    ) -> None:
        self._store = store
        self._control = control
        self._journal = journal
        self._code = code
        self._dispatcher = dispatcher
        self._changes = changes
        self._ids = RequestIds()

    async def run(self, wish: RerunParams) -> Request:
        """Make the new request.

        Raises:
            RequestNotFound, JobNotFound: there is no such request, or no such job in it.
            InvalidState: the request is neither FAIL nor STOPPED.
            InvalidInput: the job to skip has not failed, or no reason is given.
            IdempotencyConflict: the key was used with other content.
        """
        if existing := await self._existing(wish):
            return existing
        old = await self._control.get(wish.request_id)
        if old.state not in AGAIN:
            raise InvalidState(old.request_id, old.state.name, "FAIL or STOPPED")
        archived = (await self._store.job_chains([old.request_id]))[old.request_id]
        entries = await self._journal.read(old.request_id)
        request_id = self._ids.new()
        made = await off_loop(
            len(archived) >= LARGE_CHAIN,
            lambda: self._made(wish, archived, entries, request_id),
        )
        await self._journal.append(made.entries)
        await self._store.create_again(
            Rerun(
                request_id=request_id,
                rerun_of=old.request_id,
                user=wish.user,
                created_at=datetime.now(UTC),
                finished_jobs=len(made.entries),
                action="skip" if wish.skip else "rerun",
                job_id=",".join(wish.skip),
                reason=wish.reason,
                idempotency_key=wish.idempotency_key,
                content_hash=_content_hash(wish),
                job_chain=made.job_chain,
                suspended_job_chain=made.suspended_job_chain,
                job_types=made.job_types,
            )
        )
        structlog.get_logger().info(
            "created again", request_id=request_id, rerun_of=old.request_id, kept=len(made.entries)
        )
        self._changes.changed([request_id])
        self._dispatcher.look()
        return await self._control.get(request_id)

    def _made(
        self, wish: RerunParams, archived: bytes, entries: Sequence[JournalEntry], request_id: str
    ) -> _Made:
        chain = self._code.decode(archived)
        _check(wish, chain)
        reached = self._code.replay(chain, entries)
        kept = _kept(wish, reached, entries)
        kept += [_skipped(job_id, wish, chain, reached, kept) for job_id in wish.skip]
        chain = replace(chain, request_id=request_id)
        kept = [
            replace(entry, request_id=request_id, try_=1, sequence_try=1, position=place, epoch=0)
            for place, entry in enumerate(kept, start=1)
        ]
        # Jobs are changed in place when the journal is replayed, so the archive is written first.
        encoded = self._code.encode(chain)
        suspended = self._code.replay(chain, kept)
        return _Made(
            kept, encoded, self._code.encode_suspended(suspended), remaining_job_types(suspended)
        )

    async def _existing(self, wish: RerunParams) -> Request | None:
        if not wish.idempotency_key:
            return None
        found = await self._store.find_by_idempotency_key(wish.user, wish.idempotency_key)
        if found is None:
            return None
        request_id, content_hash = found
        if content_hash != _content_hash(wish):
            raise IdempotencyConflict(wish.idempotency_key, request_id)
        return await self._control.get(request_id)


def _check(wish: RerunParams, chain: JobChain) -> None:
    for job_id in (*wish.job_ids, *wish.skip):
        if job_id not in chain.jobs:
            raise JobNotFound(wish.request_id, job_id)
    if wish.skip and not wish.reason:
        raise InvalidInput("say why the job is skipped; the reason is kept on record", "reason")


def _kept(
    wish: RerunParams, reached: SuspendedJobChain, entries: Sequence[JournalEntry]
) -> list[JournalEntry]:
    """The last entry of each job that stays COMPLETE, in journal order."""
    jobs = reached.job_chain.jobs
    run_again = _with_successors(reached.job_chain, wish.job_ids)
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
    wish: RerunParams,
    chain: JobChain,
    reached: SuspendedJobChain,
    kept: Sequence[JournalEntry],
) -> JournalEntry:
    """Return the entry of a job that is skipped; its data is that of the job's parents."""
    job = chain.jobs[job_id]
    parents = [parent for parent, following in chain.next_jobs.items() if job_id in following]
    left_by = {entry.job_id: entry.data or {} for entry in kept}
    if reached.job_chain.jobs[job_id].state is State.COMPLETE:
        raise InvalidInput(
            f"job {job_id} ({job.name}) is COMPLETE, there is nothing to skip", "job_ids"
        )
    if any(parent not in left_by for parent in parents):
        raise InvalidInput(
            f"job {job_id} ({job.name}) has not failed: it has not even been reached", "job_ids"
        )
    data: dict[str, Value] = {}
    for parent in parents:
        data.update(left_by[parent])
    return JournalEntry(
        request_id="",
        job_id=job.id,
        try_=1,
        name=job.name,
        type=job.type,
        started_at=0,
        finished_at=0,
        state=State.COMPLETE,
        error=f"skipped by {wish.user or 'an unknown user'}: {wish.reason}",
        sequence_id=job.sequence_id,
        data=data,
    )


def _content_hash(wish: RerunParams) -> str:
    # One skipped job is hashed as a text, as it was before a call could skip several.
    skip = "".join(wish.skip) if len(wish.skip) < 2 else sorted(wish.skip)
    content = [wish.request_id, sorted(wish.job_ids), skip, wish.reason]
    return hashlib.sha256(orjson.dumps(content)).hexdigest()
