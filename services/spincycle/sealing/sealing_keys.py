"""Keys that seal data, and the form of sealed data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_MARK = b"\x00\x01"
"""First bytes of sealed data. No serialized message begins with a zero: it has no field 0."""

_NONCE_BYTES = 12
_TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Place:
    """The place for which data are sealed; moved to another one they cannot be opened.

    Attributes:
        column: name of the column, with its table.
        request_id: request whose row it is.
    """

    column: str
    request_id: str


class NotOpened(Exception):
    """Sealed data cannot be opened; the message says why, and what to do."""


class KeyMissing(NotOpened):
    """The key is not there, in this process or for a while."""


class Damaged(NotOpened):
    """The data are not what was sealed for their place."""


class SealingKeys:
    """Seals and opens data by AES-256-GCM.

    Sealed data are: mark, length of the id of the key, id, nonce of 96 random bits, ciphertext,
    tag.

    Args:
        keys: keys of 32 bytes by id; the first one seals, all of them open.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._ciphers = {id_: AESGCM(key) for id_, key in keys.items()}
        self.first = next(iter(keys))

    def seal(self, place: Place, data: bytes) -> bytes:
        """Return data as sealed under the first key."""
        id_ = self.first.encode()
        header = _MARK + bytes([len(id_)]) + id_
        nonce = os.urandom(_NONCE_BYTES)
        return (
            header + nonce + self._ciphers[self.first].encrypt(nonce, data, _bound(header, place))
        )

    def open(self, place: Place, sealed: bytes) -> bytes:
        """Return what was sealed for a place.

        Raises:
            KeyMissing: the key is not there.
            Damaged: the data are damaged, or of another place.
        """
        id_ = key_id(sealed)
        cipher = self._ciphers.get(id_)
        if cipher is None:
            raise KeyMissing(
                f'they are sealed under the key "{id_}", which the file of secrets.key_file does '
                "not have; restore the key"
            )
        end = len(_MARK) + 1 + len(id_)
        header, nonce = sealed[:end], sealed[end : end + _NONCE_BYTES]
        try:
            return cipher.decrypt(nonce, sealed[end + _NONCE_BYTES :], _bound(header, place))
        except InvalidTag:
            raise Damaged(
                f'they are sealed under the key "{id_}", and were damaged, sealed for another '
                "request, or sealed by another key of that id; restore them from a backup"
            )


def is_sealed(data: bytes) -> bool:
    """Return whether data are sealed; otherwise they are in clear."""
    return data.startswith(_MARK)


def key_id(sealed: bytes) -> str:
    """Return the id of the key that sealed data.

    Raises:
        Damaged: the data are not complete.
    """
    start = len(_MARK) + 1
    end = start + (sealed[start - 1] if len(sealed) >= start else 0)
    id_ = sealed[start:end].decode("ascii", errors="replace")
    if not is_sealed(sealed) or not id_ or len(sealed) < end + _NONCE_BYTES + _TAG_BYTES:
        raise Damaged("their sealed form is not complete; restore them from a backup")
    return id_


def _bound(header: bytes, place: Place) -> bytes:
    """Return what the tag covers besides the data. The parts cannot run into each other."""
    return header + place.column.encode() + b"\x00" + place.request_id.encode()
