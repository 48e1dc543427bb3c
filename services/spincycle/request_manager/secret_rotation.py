"""Seals the secrets of all requests under the first key, while services run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson
from google.protobuf.message import DecodeError

from spincycle.errors import RequestUnreadable
from spincycle.model.request_arg import REDACTED
from spincycle.request_manager.storage.secret_columns import SecretColumns
from spincycle.request_manager.storage.secret_store import (
    LAST,
    NOT_EXAMINED,
    SealedArchive,
    SealedState,
    SecretStore,
    StoredArchive,
    StoredState,
)
from spincycle.sealing.secret_sealer import IN_CLEAR
from spincycle.v1 import job_chain_pb2, suspended_job_chain_pb2

_SECRET_ARGS_TAG = b"\x9a\x01"
"""Bytes that stand before each name of a secret argument in a serialized chain."""


@dataclass(slots=True)
class Rotated:
    """The result of a rotation.

    Attributes:
        archives: number of archives that were sealed.
        states: number of saved states that were sealed.
        were_in_clear: number of archives and states among them that were in clear.
        without_secrets: number of rows of earlier versions that hold no secrets.
        unreadable: problem of each request whose data could not be sealed, by its id.
        unreadable_rows: number of archives and saved states that could not be sealed.
    """

    archives: int = 0
    states: int = 0
    were_in_clear: int = 0
    without_secrets: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    unreadable_rows: int = 0

    def count(self, before: str, sealed_under: str | None) -> None:
        """Count a row that was replaced."""
        if sealed_under is None:
            self.without_secrets += 1
        elif before in (IN_CLEAR, NOT_EXAMINED):
            self.were_in_clear += 1

    def count_unreadable(self, error: RequestUnreadable) -> None:
        """Count a row that is left as it is."""
        self.unreadable[error.request_id] = error.problem
        self.unreadable_rows += 1


class SecretRotation:
    """Seals secrets that are in clear, and those under other keys, under the first key.

    Each batch is one transaction, and replaces only rows that have not changed since they were
    read. So it can be stopped at any time, run again, and run twice at a time.

    Args:
        columns: opens with all keys, and seals under the first one.
        key_id: id of that key.
    """

    def __init__(self, store: SecretStore, columns: SecretColumns, key_id: str) -> None:
        self._store = store
        self._columns = columns
        self._key_id = key_id

    async def rotate(self, batch: int, on_batch: Callable[[Rotated], None]) -> Rotated:
        """Seal everything; call `on_batch` with the result so far after each batch.

        Raises:
            DatabaseUnavailable: the database is away; what was done is kept.
        """
        done = Rotated()
        # Before and after those that are under the key already, which may be very many.
        for start, until in ((("", ""), self._key_id), ((self._key_id, LAST), LAST)):
            place = start
            while archives := await self._store.archives_to_seal(place, until, batch):
                await self._seal_archives(archives, done)
                place = (archives[-1].sealed_under, archives[-1].request_id)
                on_batch(done)
        after = ""
        while states := await self._store.states_to_seal(self._key_id, after, batch):
            await self._seal_states(states, done)
            after = states[-1].request_id
            on_batch(done)
        return done

    async def _seal_archives(self, archives: Sequence[StoredArchive], done: Rotated) -> None:
        sealed: dict[str, SealedArchive] = {}
        for archive in archives:
            try:
                sealed[archive.request_id] = await self._sealed(archive)
            except RequestUnreadable as error:
                done.count_unreadable(error)
        for request_id in await self._store.seal_archives(list(sealed.values())):
            one = sealed[request_id]
            done.archives += one.sealed_under is not None
            done.count(one.before, one.sealed_under)

    async def _seal_states(self, states: Sequence[StoredState], done: Rotated) -> None:
        sealed: dict[str, SealedState] = {}
        for state in states:
            try:
                sealed[state.request_id] = await self._sealed_state(state)
            except RequestUnreadable as error:
                done.count_unreadable(error)
        for request_id in await self._store.seal_states(list(sealed.values())):
            one = sealed[request_id]
            done.states += one.sealed_under is not None
            done.count(one.before, one.sealed_under)

    async def _sealed(self, archive: StoredArchive) -> SealedArchive:
        request_id, before = archive.request_id, archive.sealed_under
        chain = await self._columns.open_chain(request_id, archive.job_chain)
        create_request = args = None
        if before == NOT_EXAMINED:
            redacted = _redacted(archive)
            if redacted is None and not _has_secrets(request_id, chain):
                return SealedArchive(request_id, before, None, archive.content_hash)
            create_request, args = redacted or (None, None)
        content_hash = self._columns.open_hash(request_id, archive.content_hash)
        sealed = await self._columns.seal_chain(request_id, chain)
        return SealedArchive(
            request_id,
            before,
            sealed.sealed_under,
            self._columns.seal_hash(request_id, content_hash),
            create_request,
            args,
            sealed.data,
        )

    async def _sealed_state(self, stored: StoredState) -> SealedState:
        request_id, before = stored.request_id, stored.sealed_under
        state = await self._columns.open_state(request_id, stored.suspended_job_chain)
        if before == NOT_EXAMINED and not _saved_has_secrets(request_id, state):
            return SealedState(request_id, before, state, None, state)
        sealed = await self._columns.seal_state(request_id, state)
        return SealedState(
            request_id, before, stored.suspended_job_chain, sealed.sealed_under, sealed.data
        )


def _redacted(archive: StoredArchive) -> tuple[str, str] | None:
    """Return call and arguments with secret values redacted; None if there are none.

    Raises:
        RequestUnreadable: they cannot be read.
    """
    try:
        args = orjson.loads(archive.args)
        secret = [arg for arg in args if arg.get("secret")]
        if not secret:
            return None
        call = orjson.loads(archive.create_request)
        for arg in secret:
            arg.update({key: REDACTED for key in ("value", "default") if arg.get(key) is not None})
            if arg["name"] in call["Args"]:
                call["Args"][arg["name"]] = REDACTED
    except (ValueError, TypeError, AttributeError, KeyError):
        raise RequestUnreadable(archive.request_id, "its stored arguments are damaged")
    return orjson.dumps(call).decode(), orjson.dumps(args).decode()


def _has_secrets(request_id: str, chain: bytes) -> bool:
    """Return whether jobs of a serialized chain have secret arguments."""
    if _SECRET_ARGS_TAG not in chain:
        return False
    try:
        return any(job.secret_args for job in job_chain_pb2.JobChain.FromString(chain).jobs)
    except DecodeError:
        raise RequestUnreadable(request_id, "its archived chain is damaged")


def _saved_has_secrets(request_id: str, state: bytes) -> bool:
    if _SECRET_ARGS_TAG not in state:
        return False
    try:
        message = suspended_job_chain_pb2.SuspendedJobChain.FromString(state)
    except DecodeError:
        raise RequestUnreadable(request_id, "its saved state is damaged")
    return any(job.secret_args for job in message.job_chain.jobs)
