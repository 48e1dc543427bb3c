"""Files of named keys, which several processes share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from spincycle.identity.private_files import is_open_to_all, replace_file
from spincycle.runtime.config import ConfigError
from spincycle.runtime.file_changes import follow_changes

Keys = TypeVar("Keys")

CHECK_INTERVAL = 1.0
"""Seconds between two checks for changes of a file."""

MAX_BYTES = 64 * 1024
"""Maximum size of a file."""

KEY_BYTES = 32
"""Size of a key."""

ID = r"[A-Za-z0-9._-]{1,64}"
"""Pattern of the id of a key."""

_LINE = re.compile(rf"({ID})[ \t]+([0-9A-Fa-f]{{{2 * KEY_BYTES}}})")


@dataclass(frozen=True, slots=True)
class KeyKind:
    """The kind of the keys in a file, for messages.

    Attributes:
        name: name of one key, for example "grant key".
        sharers: processes that have the same file.
        first: use of the first key, for example "signs".
        commands: commands that change a file, with "{}" for their verb.
    """

    name: str
    sharers: str
    first: str
    commands: str

    def command(self, verb: str) -> str:
        """Return the command with a verb: new, add, use or drop."""
        return self.commands.format(verb)


class KeyFile(Generic[Keys]):
    """Reads keys from a file, and again when the file changes.

    Each line has the id of a key and the key, 64 hex letters; the order of the lines counts. Blank
    lines and lines that begin with "#" are ignored.

    Args:
        path: the file.
        kind: kind of its keys.
        make: makes the keys that are used from the keys by id, in the order of the lines.

    Raises:
        ConfigError: the file cannot be read, or has no valid keys.
    """

    def __init__(
        self, path: Path, kind: KeyKind, make: Callable[[Mapping[str, bytes]], Keys]
    ) -> None:
        self.kind = kind
        self._path = path
        self._make = make
        self._contents = _read(path, kind)
        self._keys = make(_parse(self._contents, path, kind))
        if is_open_to_all(path):
            structlog.get_logger().warning(
                f"other accounts can access the {kind.name}s: remove their permissions",
                file=str(path),
            )

    @property
    def keys(self) -> Keys:
        """The current keys."""
        return self._keys

    async def watch(self) -> None:
        """Read the file again when it changes, until cancelled; keep the keys if it is invalid."""
        await follow_changes(
            f"{self.kind.name}s",
            lambda: _read(self._path, self.kind),
            self._contents,
            self._use,
            CHECK_INTERVAL,
        )

    async def _use(self, contents: bytes) -> None:
        keys = _parse(contents, self._path, self.kind)
        self._contents, self._keys = contents, self._make(keys)
        structlog.get_logger().info(f"{self.kind.name}s reloaded", ids=list(keys))


def read_keys(path: Path, kind: KeyKind) -> dict[str, bytes]:
    """Return the keys of a file by id, in the order of the lines.

    Raises:
        ConfigError: the file cannot be read, or has no valid keys.
    """
    return _parse(_read(path, kind), path, kind)


def write_keys(path: Path, keys: Mapping[str, bytes]) -> None:
    """Write a file of keys in one step.

    A new file has mode 0600; an existing one keeps its owner and mode.

    Raises:
        OSError: the file cannot be written.
    """
    lines = "".join(f"{id_} {key.hex()}\n" for id_, key in keys.items())
    replace_file(path, lines.encode(), 0o600, keep_permissions=True)


def _parse(contents: bytes, path: Path, kind: KeyKind) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(contents.decode(errors="replace").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        parts = _LINE.fullmatch(text)
        if parts is None:
            # The line is not shown: it may contain most of a key.
            raise ConfigError(
                f"{path}:{number}: not a {kind.name}; a line has an id of letters, digits, '.', "
                "'_' and '-', a space, and 64 hex letters "
                f"(`{kind.command('new')}` writes such a file)"
            )
        id_, key = parts.groups()
        if id_ in keys:
            raise ConfigError(
                f'{path}:{number}: another key has the id "{id_}"; give each key an id of its own'
            )
        keys[id_] = bytes.fromhex(key)
    if not keys:
        raise ConfigError(f"{path} has no {kind.name}; make a file by `{kind.command('new')}`")
    return keys


def _read(path: Path, kind: KeyKind) -> bytes:
    try:
        with path.open("rb") as file:
            contents = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read the {kind.name}s in {path}: {error.strerror}; make a file by "
            f"`{kind.command('new')}`, and give the same one to {kind.sharers}"
        )
    if len(contents) > MAX_BYTES:
        raise ConfigError(
            f"{path} is larger than {MAX_BYTES} bytes; it is not a file of {kind.name}s"
        )
    return contents
