"""The directory of a stack's Unix sockets: short, and closed to other accounts."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from spincycle.dev.errors import StackError

LINK = "sockets"
"""Name under which the data directory links to it."""

_PREFIX = "spincycle-"
_LONGEST = 80
"""Bytes of its path; the kernel allows 107 for a socket's, the name of the socket included."""


class SocketDirectory:
    """A directory of mode 0700, linked from the data directory of the stack.

    It cannot lie in the data directory itself, whose path may be too long for a socket.
    """

    def __init__(self, home: Path) -> None:
        """Make it, and remove the one that a stack of this data directory left behind.

        Raises:
            StackError: no directory for it is short enough.
            OSError: it cannot be made.
        """
        self._link = home / LINK
        self.remove()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_parent()))
        self._link.symlink_to(self.path)

    def remove(self) -> None:
        """Delete the directory and the link. Idempotent."""
        if not self._link.is_symlink():
            return
        target = self._link.readlink()
        if target.name.startswith(_PREFIX) and not target.is_symlink() and _is_own(target):
            shutil.rmtree(target, ignore_errors=True)
        self._link.unlink()


def _parent() -> Path:
    named = [os.environ.get("XDG_RUNTIME_DIR"), "/tmp", tempfile.gettempdir()]  # noqa: S108 # for mkdtemp
    for name in filter(None, named):
        path = Path(name)
        if path.is_absolute() and len(name.encode()) < _LONGEST and os.access(path, os.W_OK):
            return path
    raise StackError(
        "no directory for Unix sockets: neither XDG_RUNTIME_DIR nor /tmp nor TMPDIR can be "
        f"written to and has a path shorter than {_LONGEST} bytes"
    )


def _is_own(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:
        return False
