"""The file of the grant keys, which request managers and job logs share."""

from __future__ import annotations

from pathlib import Path

from spincycle.identity.append_grants import GrantKeys
from spincycle.identity.key_file import KeyFile, KeyKind, read_keys
from spincycle.runtime.config import ConfigError

GRANT_KEY = KeyKind(
    name="grant key",
    sharers="all request managers and job logs",
    first="signs",
    commands="spincycle grant-keys {}",
)
"""Kind of the keys: the first one signs, all of them verify."""


class GrantKeyFile(KeyFile[GrantKeys]):
    """Reads the grant keys, and again when the file changes.

    Raises:
        ConfigError: the file cannot be read, or has no valid keys.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, GRANT_KEY, GrantKeys)


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


def read_grant_keys(path: Path) -> dict[str, bytes]:
    """Return the keys of a file by id, in the order of the lines.

    Raises:
        ConfigError: the file cannot be read, or has no valid keys.
    """
    return read_keys(path, GRANT_KEY)
