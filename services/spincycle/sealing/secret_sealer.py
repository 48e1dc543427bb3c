"""Seals what is stored of secrets, and opens it again, as the configuration says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spincycle.sealing.sealing_keys import (
    KeyMissing,
    NotOpened,
    Place,
    SealingKeys,
    is_sealed,
    key_id,
)

IN_CLEAR = ""
"""Id in place of that of a key for secrets that are stored in clear."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Data with secrets in the form in which they are stored.

    Attributes:
        data: the data, sealed or in clear.
        sealed_under: id of the key; IN_CLEAR without one.
    """

    data: bytes
    sealed_under: str


class SecretSealer:
    """Seals data with secrets, and opens what is stored.

    Args:
        keys: returns the current keys; None if there are none.
        plaintext: whether secrets are stored in clear, with keys, too: they open only.

    Attributes:
        unreadable: number of data that could not be opened.
    """

    def __init__(self, keys: Callable[[], SealingKeys] | None, *, plaintext: bool) -> None:
        self._keys = keys
        self._plaintext = plaintext
        self.unreadable = 0

    @property
    def accepts_secrets(self) -> bool:
        """Whether new secrets may be stored."""
        return self._plaintext or self._keys is not None

    def seal(self, place: Place, data: bytes) -> Stored:
        """Return data as they are to be stored.

        Without keys they are in clear: `accepts_secrets` is asked before a request is created, and
        those that exist must go on.
        """
        if self._keys is None or self._plaintext:
            return Stored(data, IN_CLEAR)
        keys = self._keys()
        return Stored(keys.seal(place, data), keys.first)

    def open(self, place: Place, stored: bytes) -> bytes:
        """Return stored data in clear; those that are not sealed as they are.

        Raises:
            KeyMissing: the key is not there.
            Damaged: the data are damaged, or of another place.
        """
        if not is_sealed(stored):
            return stored
        try:
            return self._open(place, stored)
        except NotOpened:
            self.unreadable += 1
            raise

    def _open(self, place: Place, sealed: bytes) -> bytes:
        if self._keys is None:
            raise KeyMissing(
                f'they are sealed under the key "{key_id(sealed)}", and secrets.key_file is not '
                "set; set it to the file that has the key"
            )
        return self._keys().open(place, sealed)
