"""Ed25519 keys that sign the heads of the audit log, in files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Self

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from spincycle.identity.private_files import is_open_to_all, write_new
from spincycle.runtime.config import ConfigError

PRIVATE_FILE = "audit.key"
PUBLIC_FILE = "audit.pub"

MAX_BYTES = 64 * 1024
"""Maximum size of a file."""

_KEY_ID_BYTES = 8


class VerifyingKey:
    """Verifies signatures.

    Attributes:
        id: the first 16 hex letters of the SHA-256 digest of the key.
    """

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = hashlib.sha256(raw).digest()[:_KEY_ID_BYTES].hex()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a public key, or the public part of a private one.

        Raises:
            ConfigError: the file cannot be read, or has no Ed25519 key.
        """
        contents = _read(path)
        try:
            if b"PRIVATE KEY" in contents:
                private = load_pem_private_key(contents, None)
                assert isinstance(private, Ed25519PrivateKey)
                return cls(private.public_key())
            public = load_pem_public_key(contents)
            assert isinstance(public, Ed25519PublicKey)
            return cls(public)
        except (ValueError, TypeError, AssertionError):
            raise ConfigError(f"{path} has no public Ed25519 key in PEM form")

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Return whether the key made a signature of data."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """Signs with a private key, which is read from a file.

    Raises:
        ConfigError: the file cannot be read, or has no private Ed25519 key.

    Attributes:
        id: id of the key, as VerifyingKey has it.
    """

    def __init__(self, path: Path) -> None:
        try:
            key = load_pem_private_key(_read(path), None)
            assert isinstance(key, Ed25519PrivateKey)
        except (ValueError, TypeError, AssertionError):
            # The contents are not shown: they may be most of a key.
            raise ConfigError(
                f"{path} has no private Ed25519 key in PEM form; `spincycle keys init` makes one"
            )
        self._key = key
        self.id = VerifyingKey(key.public_key()).id
        if is_open_to_all(path):
            structlog.get_logger().warning(
                "other accounts can access the signing key: remove their permissions",
                file=str(path),
            )

    def sign(self, data: bytes) -> bytes:
        """Return the signature of data, 64 bytes."""
        return self._key.sign(data)


def create_signing_key(directory: Path) -> str:
    """Write a new key pair into a directory; return the id of the key.

    Raises:
        OSError: the directory cannot be written, or has one of the files already.
    """
    key = Ed25519PrivateKey.generate()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key()
    if (directory / PUBLIC_FILE).exists():
        raise FileExistsError(17, "the file exists", str(directory / PUBLIC_FILE))
    write_new(directory / PRIVATE_FILE, private, 0o600)
    write_new(
        directory / PUBLIC_FILE,
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        0o644,
    )
    return VerifyingKey(public).id


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read the key in {path}: {error.strerror}")
