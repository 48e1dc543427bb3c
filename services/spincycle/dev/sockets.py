"""The directory of a stack's Unix sockets: short, and closed to other accounts."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from spincycle.dev.errors import StackError

LINK = "sockets"
"""Name under which the data directory links to it."""

_PREFIX = "spincycle-"
_OWNER = "owner"
"""File that names the data directory."""

_LONGEST = 80
"""Bytes of its path; the kernel allows 107 for a socket's, the name of the socket included."""


class SocketDirectory:
    """A directory of mode 0700, linked from the data directory of the stack.

    It cannot lie in the data directory itself, whose path may be too long for a socket.
    """

    def __init__(self, home: Path) -> None:
        """Make it, and remove the one that a stack of this data directory left behind.

        Raises:
            StackError: there is no safe and short place for it.
            OSError: it cannot be made.
        """
        self._home = home
        self._link = home / LINK
        self.remove()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_parent()))
        (self.path / _OWNER).write_text(self._identity())
        self._link.symlink_to(self.path)

    def remove(self) -> None:
        """Delete the directory and the link. Idempotent.

        A link in a copy of the data directory still names the directory of the original's stack,
        which is left alone.
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
        "no directory for Unix sockets: of /tmp, /var/tmp and TMPDIR none can be written to, has a "
        f"path shorter than {_LONGEST} bytes, and is safe from renaming by other accounts"
    )


def _is_safe(path: Path) -> bool:
    """Whether no other account but root can rename or delete what this account makes there."""
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
