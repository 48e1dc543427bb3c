"""A lock on a directory that its holder's death, however sudden, releases."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Locked(Exception):
    """Another process has the lock.

    Attributes:
        note: what its holder wrote into the lock, perhaps nothing yet.
    """

    def __init__(self, path: Path, note: str) -> None:
        self.path = path
        self.note = note
        super().__init__(f"{path} is locked by another process: {note or 'it is starting'}")


class FileLock:
    """An exclusive lock on a file that also says who holds it.

    The kernel holds it for the open file, so that it can be handed to a child by descriptor
    and is free once every process that has the descriptor is gone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    @property
    def descriptor(self) -> int:
        """The open file; only while the lock is held."""
        assert self._file is not None
        return self._file

    def acquire(self) -> None:
        """Take the lock at once.

        Raises:
            Locked: another process has it.
        """
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                note = os.read(file, 65536).decode(errors="replace")
                os.close(file)
                raise Locked(self._path, note)
            if self._is_still(file):
                self._file = file
                return
            # Its last holder deleted it between our open and our lock.
            os.close(file)

    def _is_still(self, file: int) -> bool:
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(file))

    def write(self, note: str) -> None:
        """Tell those who find the lock taken something about its holder."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, note.encode(), 0)

    def release(self) -> None:
        """Give the lock back and leave no file; without effect if it is not held."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None
