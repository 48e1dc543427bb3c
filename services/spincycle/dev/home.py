"""The directory of a stack: its location, its lock, and its cleanup."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from spincycle.dev.errors import AlreadyRunning, StackError
from spincycle.dev.lock import FileLock, Locked
from spincycle.dev.reaper import Reaper
from spincycle.dev.sockets import SocketDirectory
from spincycle.dev.stack_processes import end_processes, find_processes

_CLEANUP_TIMEOUT = 30.0
_LOCK = "stack.lock"


def default_home() -> Path:
    """Return the default directory of this account's stack.

    Root gets a directory that PostgreSQL's account can enter, an account without a home
    directory one under /var/tmp.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/spincycle")
    data_home = os.environ.get("XDG_DATA_HOME")
    if data_home and Path(data_home).is_absolute():
        return Path(data_home) / "spincycle"
    own = os.environ.get("HOME")
    if own and Path(own).is_absolute() and os.access(own, os.W_OK):
        return Path(own) / ".local" / "share" / "spincycle"
    return Path(f"/var/tmp/spincycle-{os.geteuid()}")  # noqa: S108 # its owner is checked


class StackHome:
    """Exclusive use of the directory of a stack.

    While it is acquired, a Reaper cleans up if this process is killed.
    """

    def __init__(self, kept: Path | None) -> None:
        """Use the directory `kept`, or a temporary one if it is None."""
        self._kept = kept
        self._lock: FileLock | None = None
        self._reaper: Reaper | None = None
        self._sockets: SocketDirectory | None = None
        self.path = Path()

    @property
    def sockets(self) -> Path:
        """Directory of the Unix sockets; only while the home is acquired."""
        assert self._sockets is not None
        return self._sockets.path

    async def acquire(self) -> int:
        """Lock the directory, end remaining processes of an earlier stack, return their number.

        Raises:
            AlreadyRunning: another stack is using the directory.
            StackError: the directory cannot be used.
        """
        try:
            self._make()
            self._lock = await self._locked(self.path / _LOCK)
        except OSError as error:
            raise StackError(f"cannot use {error.filename or self.path}: {error.strerror}")
        self.write_note({})
        try:
            self._sockets = SocketDirectory(self.path)
        except OSError as error:
            raise StackError(f"cannot create a directory for Unix sockets: {error}")
        locks = [self.path / "postgres" / "postgres.lock", self.path / _LOCK]
        temporary = [self.sockets, *(locks if self._kept else [self.path])]
        self._reaper = Reaper(self.path, temporary, self._lock.descriptor)
        remaining = find_processes(self.path)
        if remaining:
            await asyncio.to_thread(end_processes, self.path, 3.0)
        return len(remaining)

    def write_note(self, note: Mapping[str, str]) -> None:
        """Describe this stack to other processes that find the directory locked."""
        assert self._lock is not None
        self._lock.write(json.dumps({"pid": str(os.getpid()), **note}))

    async def release(self) -> None:
        """End remaining processes, unlock the directory, and delete it if it is temporary."""
        if self._reaper is None:
            return
        await asyncio.to_thread(end_processes, self.path, 1.0)
        if self._sockets is not None:
            self._sockets.remove()
        if self._kept is None:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
        self._reaper.dismiss()
        self._lock = self._reaper = None

    def _make(self) -> None:
        if self._kept is None:
            self.path = Path(tempfile.mkdtemp(prefix="spincycle-", dir=_accessible_parent()))
        else:
            self.path = self._kept.absolute()
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.path.stat()
        if found.st_uid != os.geteuid():
            raise StackError(f"cannot use {self.path}: it belongs to another account")
        if os.geteuid() == 0:
            # PostgreSQL runs as another account.
            self.path.chmod(found.st_mode | 0o011)

    async def _locked(self, path: Path) -> FileLock:
        lock = FileLock(path)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLEANUP_TIMEOUT):
                while True:
                    try:
                        lock.acquire()
                    except Locked as error:
                        note = _read_note(error.note)
                        if "pid" not in note or _is_alive(int(note["pid"])):
                            raise AlreadyRunning(self.path, note)
                        # Its holder was killed, and the holder's reaper is cleaning up.
                        await asyncio.sleep(0.1)
                    else:
                        return lock
        raise StackError(f"{path} is still locked although the process that locked it has ended")


def _accessible_parent() -> Path | None:
    """Return a directory for temporary ones that PostgreSQL's account can enter, for root."""
    if os.geteuid() != 0:
        return None
    for path in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108 # for mkdtemp
        if all(each.stat().st_mode & 0o001 for each in (path, *path.parents)):
            return path
    return None


def _read_note(note: str) -> dict[str, str]:
    try:
        content = json.loads(note)
    except ValueError:
        return {}
    return {str(key): str(content[key]) for key in content} if isinstance(content, dict) else {}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
