"""The directory of a stack's Unix sockets, with a short path and closed to other accounts."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from spincycle.dev.errors import StackError

LINK = "sockets"
"""Name of the link to it in the data directory."""

_PREFIX = "spincycle-"
_OWNER = "owner"
"""File that identifies the data directory."""

_LONGEST = 80
"""Most bytes of its path; the kernel allows 107 for the path of a socket."""


class SocketDirectory:
    """Creates and removes a directory of mode 0700, linked from the data directory.

    It is not in the data directory, whose path may be too long for a socket.
    """

    def __init__(self, home: Path) -> None:
        """Create the directory, and remove that of an earlier stack of this data directory.

        Raises:
            StackError: no directory with a short path is safe.
            OSError: the directory cannot be created.
        """
        self._home = home
        self._link = home / LINK
        self.remove()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_parent()))
        (self.path / _OWNER).write_text(self._identity())
        self._link.symlink_to(self.path)

    def remove(self) -> None:
        """Delete the directory and the link. Idempotent.

        In a copy of the data directory, the link points to the directory of the original's stack,
        which is not deleted.
        """
        if not self._link.is_symlink():
            return
        target = self._link.readlink()
        if not target.is_symlink() and _read(target / _OWNER) == self._identity():
            shutil.rmtree(target, ignore_errors=True)
        self._link.unlink()

    def _identity(self) -> str:
        found = self._home.stat()
        return f"{found.st_dev} {found.st_ino} {self._home}"


def _parent() -> Path:
    for name in ("/tmp", "/var/tmp", tempfile.gettempdir()):  # noqa: S108 # for mkdtemp
        if len(name.encode()) < _LONGEST and os.access(name, os.W_OK) and _is_safe(Path(name)):
            return Path(name)
    raise StackError(
        "no directory for Unix sockets: none of /tmp, /var/tmp and TMPDIR is writable, has a path "
        f"shorter than {_LONGEST} bytes, and is safe from renaming by other accounts"
    )


def _is_safe(path: Path) -> bool:
    """Return whether only this account and root can rename or delete its files there."""
    for each in (path.absolute(), *path.absolute().parents):
        found = each.stat()
        is_open = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if found.st_uid not in (0, os.geteuid()) or is_open:
            return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
