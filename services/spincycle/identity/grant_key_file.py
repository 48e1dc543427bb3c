"""The file of the grant keys, which request managers and job logs share."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import structlog

from spincycle.identity.append_grants import GrantKeys
from spincycle.identity.private_files import replace_file
from spincycle.runtime.config import ConfigError

CHECK_INTERVAL = 1.0
"""Seconds between two checks for changes of the file."""

MAX_BYTES = 64 * 1024
"""Maximum size of the file."""

KEY_BYTES = 32
"""Size of a key."""

ID = r"[A-Za-z0-9._-]{1,64}"
"""Pattern of the id of a key."""

_LINE = re.compile(rf"({ID})[ \t]+([0-9A-Fa-f]{{{2 * KEY_BYTES}}})")


class GrantKeyFile:
    """Reads the grant keys, and again when the file changes.

    Each line has the id of a key and the key, 64 hex letters. The first key signs, all of them
    verify. Blank lines and lines that begin with "#" are ignored.

    Raises:
        ConfigError: the file cannot be read, or has no valid keys.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._contents = _read(path)
        self._keys = GrantKeys(_parse(self._contents, path))
        if _is_open_to_all(path):
            structlog.get_logger().warning(
                "other accounts can access the grant keys: remove their permissions",
                file=str(path),
            )

    @property
    def keys(self) -> GrantKeys:
        """The current keys."""
        return self._keys

    async def watch(self) -> None:
        """Read the file again when it changes, until cancelled; keep the keys if it is invalid."""
        problem = ""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                contents = await asyncio.to_thread(_read, self._path)
                if contents == self._contents:
                    problem = ""
                    continue
                keys = _parse(contents, self._path)
            except ConfigError as error:
                if str(error) != problem:
                    problem = str(error)
                    structlog.get_logger().error("grant keys not reloaded", problem=problem)
                continue
            problem = ""
            self._contents, self._keys = contents, GrantKeys(keys)
            structlog.get_logger().info("grant keys reloaded", ids=list(keys))


def open_grant_keys(path: Path | None, *, required: bool) -> GrantKeyFile | None:
    """Read the file of the setting `append_grant_keys`; return None if it is not set.

    Args:
        path: the setting.
        required: the internal listener identifies its callers, so job runners need grants.

    Raises:
        ConfigError: the setting is required and missing, or the file is invalid.
    """
    if path is not None:
        return GrantKeyFile(path)
    if not required:
        return None
    raise ConfigError(
        "append_grant_keys: not set, so job runners could not be entitled to append to the "
        "journal; make a file by `spincycle grant-keys new FILE`, and set it on all request "
        "managers and job logs"
    )


def _parse(contents: bytes, path: Path) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for number, line in enumerate(contents.decode(errors="replace").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        parts = _LINE.fullmatch(text)
        if parts is None:
            # The line is not shown: it may contain most of a key.
            raise ConfigError(
                f"{path}:{number}: not a grant key; a line has an id of letters, digits, '.', '_' "
                "and '-', a space, and 64 hex letters (`spincycle grant-keys new` writes such a "
                "file)"
            )
        id_, key = parts.groups()
        if id_ in keys:
            raise ConfigError(
                f'{path}:{number}: another key has the id "{id_}"; give each key an id of its own'
            )
        keys[id_] = bytes.fromhex(key)
    if not keys:
        raise ConfigError(f"{path} has no grant key; make a file by `spincycle grant-keys new`")
    return keys


def read_grant_keys(path: Path) -> dict[str, bytes]:
    """Return the keys of a file by id, in the order of the lines.

    Raises:
        ConfigError: the file cannot be read, or has no valid keys.
    """
    return _parse(_read(path), path)


def write_grant_keys(path: Path, keys: Mapping[str, bytes]) -> None:
    """Write a file of grant keys in one step.

    A new file has mode 0600; an existing one keeps its owner and mode.

    Raises:
        OSError: the file cannot be written.
    """
    lines = "".join(f"{id_} {key.hex()}\n" for id_, key in keys.items())
    replace_file(path, lines.encode(), 0o600, keep_permissions=True)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            contents = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read the grant keys in {path}: {error.strerror}; make a file by `spincycle "
            "grant-keys new`, and give the same one to all request managers and job logs"
        )
    if len(contents) > MAX_BYTES:
        raise ConfigError(
            f"{path} is larger than {MAX_BYTES} bytes; it is not a file of grant keys"
        )
    return contents


def _is_open_to_all(path: Path) -> bool:
    """Return whether every account of the machine may access the file.

    Secrets of Kubernetes have such a mode, too, on a mount of their own, which is read-only.
    """
    try:
        mode, mount = path.stat().st_mode, os.statvfs(path)
    except OSError:
        return False
    return bool(mode & stat.S_IRWXO) and not mount.f_flag & os.ST_RDONLY
