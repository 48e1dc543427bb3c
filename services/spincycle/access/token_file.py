"""Authenticates callers by bearer tokens whose digests are in a file."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog
import yaml

from spincycle.access.authentication import OnChange, bearer_token
from spincycle.access.caller import Caller
from spincycle.access.caller_names import check_name
from spincycle.access.credentials import Credentials
from spincycle.identity.private_files import replace_file
from spincycle.runtime.config import ConfigError
from spincycle.runtime.file_changes import follow_changes

TOKEN_FILE = "token-file"  # noqa: S105 # the name, not a token
"""Name of the authenticator."""

CHECK_INTERVAL = 1.0
"""Seconds between two checks for changes of the file."""

MAX_BYTES = 1024 * 1024
"""Maximum size of the file."""

_DIGEST = re.compile("[0-9a-f]{64}")

_MAKE = "`spincycle tokens new NAME FILE` adds valid entries"


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """One caller of the file.

    Attributes:
        digests: SHA-256 digests of its tokens in hex letters.
        line: line of the entry.
    """

    name: str
    roles: tuple[str, ...]
    digests: tuple[str, ...]
    line: int


class TokenFile:
    """Accepts the tokens of a file, which is read again when it changes.

    Raises:
        ConfigError: the file cannot be read, or is not valid.
    """

    name = TOKEN_FILE

    def __init__(self, path: Path) -> None:
        self._path = path
        self._contents = _read(path)
        self._callers = _callers(parse_token_file(self._contents, path))

    @property
    def roles(self) -> frozenset[str]:
        """The roles of all callers in the file."""
        return frozenset(role for _, caller in self._callers.values() for role in caller.roles)

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        """Return the caller; None if its token is not in the file."""
        token = bearer_token(credentials)
        if not token:
            return None
        digest = token_digest(token)
        # The time of this look-up depends on the digest, from which no token can be guessed.
        found = self._callers.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            return None
        return found[1]

    async def watch(self, on_change: OnChange) -> None:
        """Read the file again when it changes, until cancelled; keep the tokens if it is invalid.

        A file that is gone is invalid: an empty one revokes all tokens.
        """

        async def use(contents: bytes) -> None:
            entries = await asyncio.to_thread(parse_token_file, contents, self._path)
            self._contents, self._callers = contents, _callers(entries)
            structlog.get_logger().info("tokens reloaded", callers=len(entries))
            await on_change()

        await follow_changes(
            "tokens", lambda: _read(self._path), self._contents, use, CHECK_INTERVAL
        )


def token_digest(token: str) -> str:
    """Return the SHA-256 digest of a token in hex letters."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def generate_token() -> str:
    """Return a random token."""
    return f"spc_{secrets.token_urlsafe(32)}"


def add_token(path: Path, name: str, roles: Sequence[str], token: str) -> None:
    """Add the digest of a token to a file in one step; a new file has mode 0600.

    Raises:
        ConfigError: the file is not valid, or has the name already.
        ValueError: the name or a role is not valid.
        OSError: the file cannot be written.
    """
    check_name(name)
    for role in roles:
        check_name(role, "role")
    contents = _read(path) if path.exists() else b""
    for entry in parse_token_file(contents, path):
        if entry.name == name:
            raise ConfigError(
                f'{path}:{entry.line}: "{name}" has a token already; remove its lines to revoke '
                "that, and repeat the command"
            )
    if contents and not contents.endswith(b"\n"):
        contents += b"\n"
    added = yaml.safe_dump(
        {name: {"roles": list(roles), "sha256": token_digest(token)}},
        sort_keys=False,
        default_flow_style=None,
        allow_unicode=True,
        width=1000,
    )
    replace_file(path, contents + added.encode(), 0o600, keep_permissions=True)


def parse_token_file(contents: bytes, path: Path) -> list[TokenEntry]:
    """Return the entries of a file: `name: {roles: [role, …], sha256: digest or digests}`.

    Raises:
        ConfigError: it is not valid; the message has file and line.
    """
    try:
        root = yaml.compose(contents, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}")
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}")
    if root is None:
        return []
    entries = [_entry(name, line, node, path) for name, line, node in _pairs(root, path)]
    owners: dict[str, str] = {}
    for entry in entries:
        for digest in entry.digests:
            if digest in owners:
                raise ConfigError(
                    f'{path}:{entry.line}: "{entry.name}" has the token of "{owners[digest]}"; '
                    f"give each caller a token of its own ({_MAKE})"
                )
            owners[digest] = entry.name
    return entries


def _callers(entries: Sequence[TokenEntry]) -> Mapping[str, tuple[str, Caller]]:
    return {
        digest: (digest, Caller(entry.name, entry.roles, TOKEN_FILE))
        for entry in entries
        for digest in entry.digests
    }


def _entry(name: str, line: int, node: yaml.Node, path: Path) -> TokenEntry:
    try:
        check_name(name)
    except ValueError as error:
        _fail(path, line, str(error))
    roles: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    for key, key_line, value in _pairs(node, path):
        if key == "roles":
            roles = tuple(_texts(value, path))
        elif key == "sha256":
            digests = tuple(_texts(value, path))
        else:
            _fail(path, key_line, f'"{name}" has the unknown key "{key}"')
    if not digests:
        _fail(path, line, f'"{name}" has no sha256')
    for digest in digests:
        if not _DIGEST.fullmatch(digest):
            # The value is not shown: it may be the token itself.
            _fail(path, line, f'a sha256 of "{name}" is not 64 digits and letters from a to f')
    for role in roles:
        try:
            check_name(role, "role")
        except ValueError as error:
            _fail(path, line, f'"{name}": {error}')
    return TokenEntry(name, roles, digests, line)


def _pairs(node: yaml.Node, path: Path) -> Iterator[tuple[str, int, yaml.Node]]:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        _fail(path, line, "not a mapping")
    seen: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            _fail(path, line, "a key is not a text")
        if key.value in seen:
            _fail(path, line, f'"{key.value}" occurs twice')
        seen.add(key.value)
        yield key.value, line, value


def _texts(node: yaml.Node, path: Path) -> Iterator[str]:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for one in nodes:
        if not isinstance(one, yaml.ScalarNode):
            _fail(path, one.start_mark.line + 1, "not a text or a list of texts")
        yield one.value


def _fail(path: Path, line: int, problem: str) -> NoReturn:
    raise ConfigError(
        f"{path}:{line}: {problem}; an entry is `name: {{roles: [role, …], sha256: digest of the "
        f"token}}` ({_MAKE})"
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            contents = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the tokens in {path}: {error.strerror}; {_MAKE}")
    if len(contents) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES} bytes; it is not a file of tokens")
    return contents
