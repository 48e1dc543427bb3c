"""A lock on a directory that the kernel releases when its holder ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Locked(Exception):
    """Another process holds the lock.

    Attributes:
        note: text that the holder wrote into the lock file; empty if it has not yet.
    """

    def __init__(self, path: Path, note: str) -> None:
        self.path = path
        self.note = note
        super().__init__(f"{path} is locked by another process: {note or 'it is starting'}")


class FileLock:
    """An exclusive lock on a file whose content describes the holder.

    The lock belongs to the open file: it can be passed to a child by descriptor, and is released
    when every process with the descriptor has ended.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    @property
    def descriptor(self) -> int:
        """Descriptor of the open file; only while the lock is held."""
        assert self._file is not None
        return self._file

    def acquire(self) -> None:
        """Acquire the lock without waiting.

        Raises:
            Locked: another process holds it.
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
            # The last holder deleted the file after it was opened here.
            os.close(file)

    def _is_still(self, file: int) -> bool:
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(file))

    def write(self, note: str) -> None:
        """Write a description of the holder for other processes."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, note.encode(), 0)

    def release(self) -> None:
        """Release the lock and delete the file; no effect if it is not held."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None
