"""Secrets of one stack: tokens by which its services identify themselves, and keys."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path

from spincycle.dev.errors import StackError
from spincycle.identity.key_file import KEY_BYTES, write_keys
from spincycle.identity.service_identity import DEFAULT_TRUST_DOMAIN, ServiceIdentity

GRANT_KEYS = "grant-keys"
"""Name of the file of the grant keys in the directory of a stack."""

SEALING_KEYS = "sealing-keys"
"""Name of the file of the sealing keys in the directory of a stack."""


def new_grant_keys(home: Path) -> Path:
    """Write a file with a new grant key into the directory of a stack; return its path.

    The chains of an earlier stack are gone, and so are the grants for them.

    Raises:
        StackError: the file cannot be written.
    """
    file = home / GRANT_KEYS
    try:
        file.unlink(missing_ok=True)
        write_keys(file, {"1": secrets.token_bytes(KEY_BYTES)})
    except OSError as error:
        raise StackError(f"cannot write {file}: {error.strerror}")
    return file


def kept_sealing_keys(home: Path) -> Path:
    """Return the path of the file of the sealing keys in the directory of a stack.

    It is made by the first stack, and kept: the database of the directory needs it.

    Raises:
        StackError: the file cannot be written.
    """
    file = home / SEALING_KEYS
    try:
        if not file.exists():
            write_keys(file, {"1": secrets.token_bytes(KEY_BYTES)})
    except OSError as error:
        raise StackError(f"cannot write {file}: {error.strerror}")
    return file


class IdentityTokens:
    """Tokens for the services of one stack, new at each start and kept in memory only."""

    def __init__(self) -> None:
        self._tokens: dict[ServiceIdentity, str] = {}

    def issue(self, service: str, instance: str = "1") -> str:
        """Return the token of a service, a new one at the first call."""
        identity = ServiceIdentity(DEFAULT_TRUST_DOMAIN, service, instance)
        return self._tokens.setdefault(identity, secrets.token_urlsafe(32))

    def known(self) -> Mapping[str, str]:
        """Return the SPIFFE IDs by the digests of their tokens, for those who verify them."""
        return {
            hashlib.sha256(token.encode()).hexdigest(): str(identity)
            for identity, token in self._tokens.items()
        }
