"""The file of the sealing keys, which request managers share."""

from __future__ import annotations

from pathlib import Path

from spincycle.identity.key_file import KeyFile, KeyKind, read_keys
from spincycle.sealing.sealing_keys import SealingKeys

SEALING_KEY = KeyKind(
    name="sealing key",
    sharers="all request managers",
    first="seals",
    commands="spincycle secrets {}-key",
)
"""Kind of the keys: the first one seals, all of them open."""


class SealingKeyFile(KeyFile[SealingKeys]):
    """Reads the sealing keys, and again when the file changes.

    Raises:
        ConfigError: the file cannot be read, or has no valid keys.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, SEALING_KEY, SealingKeys)


def read_sealing_keys(path: Path) -> SealingKeys:
    """Return the keys of a file.

    Raises:
        ConfigError: the file cannot be read, or has no valid keys.
    """
    return SealingKeys(read_keys(path, SEALING_KEY))
