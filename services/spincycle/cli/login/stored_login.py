"""The file of a login: tokens of an issuer, and the addresses that they are for."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from spincycle.cli.problem import Problem
from spincycle.identity.private_files import replace_file

_LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process that renews the token."""

_LOCK_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Client:
    """Spinc as the issuer knows it, and what it requests.

    Attributes:
        issuer: URL of the issuer.
        client_id: id that the issuer gave to spinc.
        scopes: scopes to request.
        use_id_token: whether the ID token is sent to the services, not the access token.
    """

    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    use_id_token: bool = False


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """A login.

    Attributes:
        addresses: addresses that the token may be sent to.
        client: the client that it was issued to.
        token_endpoint: URL that renews the token.
        token: the bearer token.
        refresh_token: renews it; empty if the issuer gave none.
        renew_at: time from which it is renewed before it is sent, in seconds since 1970; None if
            the issuer did not say when it expires.
        expires_at: the end of the token, likewise.
    """

    addresses: tuple[str, ...]
    client: Client
    token_endpoint: str
    token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    renew_at: float | None = None
    expires_at: float | None = None

    def is_fresh(self) -> bool:
        """Return whether the token need not be renewed yet."""
        return self.renew_at is None or time.time() < self.renew_at

    def has_expired(self) -> bool:
        """Return whether the token is of no use any more."""
        return self.expires_at is not None and time.time() >= self.expires_at


class LoginFile:
    """The file of one login, which only its owner can read.

    Several processes may use it. One that renews the token holds the lock meanwhile, since a
    refresh token may count once only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> StoredLogin | None:
        """Return the login; None if there is none.

        Raises:
            Problem: the file cannot be read, or is damaged.
        """
        try:
            document = json.loads(self._path.read_bytes())
            client = document.pop("client")
            scopes = tuple(map(str, client.pop("scopes")))
            addresses = tuple(map(str, document.pop("addresses")))
            return StoredLogin(addresses, Client(**client, scopes=scopes), **document)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Problem(f"cannot read {self._path}: {error.strerror}")
        except (ValueError, TypeError, AttributeError, KeyError):
            raise Problem(
                f"{self._path} is not a login of spinc", "delete it, and run 'spinc login'"
            )

    def write(self, login: StoredLogin) -> None:
        """Store a login, in place of the one before.

        Raises:
            Problem: the file cannot be written.
        """
        try:
            self._make_directory()
            replace_file(self._path, json.dumps(asdict(login)).encode(), 0o600)
        except OSError as error:
            raise Problem(f"cannot write {self._path}: {error.strerror}")

    def delete(self) -> bool:
        """Delete the login; return whether there was one.

        Raises:
            Problem: the file cannot be deleted.
        """
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise Problem(f"cannot delete {self._path}: {error.strerror}")
        return True

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from renewing the token.

        Raises:
            Problem: one of them keeps the lock, or the lock cannot be acquired.
        """
        path = self._path.with_suffix(".lock")
        try:
            self._make_directory()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Problem(f"cannot lock {path}: {error.strerror}")
        try:
            _acquire(descriptor, path)
            yield
        finally:
            os.close(descriptor)

    def _make_directory(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _acquire(descriptor: int, path: Path) -> None:
    end = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise Problem(f"another spinc has held {path} for {_LOCK_TIMEOUT:.0f} s")
            time.sleep(_LOCK_POLL)
        else:
            return
