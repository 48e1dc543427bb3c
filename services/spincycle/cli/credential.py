"""The bearer token of a call: where it is kept, and the addresses that it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spincycle.cli.problem import Problem


@dataclass(frozen=True, slots=True)
class Credential:
    """A bearer token.

    Attributes:
        token: the token; empty for none.
        source: file or variable that it was read from, for messages.
        addresses: the addresses that it may be sent to; None for those in use.
        file: file that holds only the token; None if it is from elsewhere.
        login: file that `spinc login` wrote; None if it is from elsewhere.
    """

    token: str = field(default="", repr=False)
    source: str = ""
    addresses: frozenset[str] | None = None
    file: Path | None = None
    login: Path | None = None

    def is_for(self, address: str) -> bool:
        """Return whether the token may be sent to an address."""
        return bool(self.token) and (self.addresses is None or address in self.addresses)


NO_CREDENTIAL = Credential()
"""No token."""


def from_variable(token: str, name: str) -> Credential:
    """Return the credential of an environment variable, for whichever addresses are in use.

    Raises:
        Problem: it is not a token.
    """
    return Credential(_checked(token, f"the variable {name}"), name)


def from_file(path: str, addresses: frozenset[str]) -> Credential:
    """Return the credential in a token file.

    Raises:
        Problem: the file cannot be read, or contains no token.
    """
    file = Path(path).expanduser()
    return Credential(read_token(file), path, addresses, file)


def read_token(file: Path) -> str:
    """Return the token in a file.

    Raises:
        Problem: the file cannot be read, or contains no token.
    """
    try:
        text = file.read_text()
    except OSError as error:
        raise Problem(f"cannot read the token file {file}: {error.strerror}")
    except UnicodeDecodeError:
        raise Problem(f"the token file {file} is not UTF-8 text")
    return _checked(text, f"the token file {file}")


def from_login(path: Path) -> Credential:
    """Return the credential that `spinc login` stored; NO_CREDENTIAL if the file is missing.

    Raises:
        Problem: the file is damaged.
    """
    if not path.exists():
        return NO_CREDENTIAL
    from spincycle.cli.login.stored_login import LoginFile

    stored = LoginFile(path).read()
    if stored is None:
        return NO_CREDENTIAL
    token = _checked(stored.token, str(path))
    return Credential(token, "spinc login", frozenset(stored.addresses), login=path)


def token_file_of(keys: Mapping[str, Any]) -> str:
    """Return the token file that the keys of a context or a file name; empty for none."""
    return str(keys.get("token-file") or "")


def _checked(text: str, place: str) -> str:
    token = text.strip()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise Problem(f"{place} does not contain a token: one word of ASCII characters")
    return token
