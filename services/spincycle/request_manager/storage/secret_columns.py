"""Columns that hold secrets: sealed when they are written, opened when they are read."""

from __future__ import annotations

import base64
import binascii

from spincycle.errors import RequestUnreadable
from spincycle.runtime.off_loop import LARGE_CHAIN_BYTES, off_loop
from spincycle.sealing.sealing_keys import Damaged, NotOpened, Place, is_sealed
from spincycle.sealing.secret_sealer import SecretSealer, Stored

_SEALED_HASH = "sealed:"
"""Beginning of a sealed hash, which is text."""


def chain_place(request_id: str) -> Place:
    """Return the place of the archived chain of a request."""
    return Place("request_archives.job_chain", request_id)


def state_place(request_id: str) -> Place:
    """Return the place of the saved state of a request."""
    return Place("suspended_job_chains.suspended_job_chain", request_id)


def hash_place(request_id: str) -> Place:
    """Return the place of the hash of the call that created a request."""
    return Place("requests.content_hash", request_id)


class SecretColumns:
    """Seals and opens the columns that hold chains, and the hashes of calls.

    The values of secret arguments are in the chain only. The hash of a call with secrets is sealed,
    since a short secret could be guessed by it.
    """

    def __init__(self, sealer: SecretSealer) -> None:
        self._sealer = sealer

    @property
    def accepts_secrets(self) -> bool:
        """Whether requests with secrets may be stored."""
        return self._sealer.accepts_secrets

    async def seal_chain(self, request_id: str, chain: bytes) -> Stored:
        """Return an archived chain with secrets as it is to be stored."""
        return await self._seal(chain_place(request_id), chain)

    async def seal_state(self, request_id: str, state: bytes) -> Stored:
        """Return a saved state with secrets as it is to be stored."""
        return await self._seal(state_place(request_id), state)

    async def open_chain(
        self, request_id: str, stored: bytes, *, keep_damaged: bool = False
    ) -> bytes:
        """Return an archived chain, serialized.

        With `keep_damaged` a damaged one is returned as it is stored. It cannot be decoded, so its
        request is treated like any other whose stored data are damaged.

        Raises:
            RequestUnreadable: it is sealed, and cannot be opened.
        """
        return await self._open(chain_place(request_id), stored, keep_damaged=keep_damaged)

    async def open_state(
        self, request_id: str, stored: bytes, *, keep_damaged: bool = False
    ) -> bytes:
        """Return a saved state, serialized; `keep_damaged` as in `open_chain`.

        Raises:
            RequestUnreadable: it is sealed, and cannot be opened.
        """
        return await self._open(state_place(request_id), stored, keep_damaged=keep_damaged)

    def seal_hash(self, request_id: str, content_hash: str) -> str:
        """Return the hash of a call with secrets as it is to be stored."""
        if not content_hash:
            return ""
        return as_text(self._sealer.seal(hash_place(request_id), content_hash.encode()))

    def open_hash(self, request_id: str, stored: str) -> str:
        """Return the hash of a call.

        Raises:
            RequestUnreadable: it is sealed, and cannot be opened.
        """
        try:
            return self._sealer.open(hash_place(request_id), as_bytes(stored)).decode()
        except NotOpened as problem:
            raise RequestUnreadable(request_id, str(problem))

    async def _seal(self, place: Place, data: bytes) -> Stored:
        return await off_loop(
            len(data) >= LARGE_CHAIN_BYTES, lambda: self._sealer.seal(place, data)
        )

    async def _open(self, place: Place, stored: bytes, *, keep_damaged: bool) -> bytes:
        if not is_sealed(stored):
            return stored
        try:
            return await off_loop(
                len(stored) >= LARGE_CHAIN_BYTES, lambda: self._sealer.open(place, stored)
            )
        except NotOpened as problem:
            if keep_damaged and isinstance(problem, Damaged):
                return stored
            raise RequestUnreadable(place.request_id, str(problem))


def as_text(stored: Stored) -> str:
    """Return a stored hash as the text of its column."""
    if not stored.sealed_under:
        return stored.data.decode()
    return _SEALED_HASH + base64.b64encode(stored.data).decode()


def as_bytes(text: str) -> bytes:
    """Return the text of the column of a hash as it was sealed, or in clear.

    Raises:
        Damaged: the text cannot be decoded.
    """
    if not text.startswith(_SEALED_HASH):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_SEALED_HASH), validate=True)
    except binascii.Error:
        raise Damaged("the hash of the call that created it is damaged")
