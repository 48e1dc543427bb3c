"""The directory of a stack: where it is, who has it, and who cleans it up."""

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
from spincycle.dev.keeper import Keeper
from spincycle.dev.lock import FileLock, Locked
from spincycle.dev.marked import end_marked, find_marked
from spincycle.dev.sockets import SocketDirectory

_CLEANING = 30.0
_LOCK = "stack.lock"


def default_home() -> Path:
    """Where the stack of this account is kept from one start to the next.

    For root that is a directory that PostgreSQL's account can enter, too. An account without
    a home of its own has one under /var/tmp.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/spincycle")
    named = os.environ.get("XDG_DATA_HOME")
    if named and Path(named).is_absolute():
        return Path(named) / "spincycle"
    own = os.environ.get("HOME")
    if own and Path(own).is_absolute() and os.access(own, os.W_OK):
        return Path(own) / ".local" / "share" / "spincycle"
    return Path(f"/var/tmp/spincycle-{os.geteuid()}")  # noqa: S108 # its owner is checked


class StackHome:
    """A directory that one stack at a time has for itself.

    While it is taken, a keeper sees to it that nothing is left if this process is killed.
    """

    def __init__(self, kept: Path | None) -> None:
        """Prepare; `kept` is the directory, None stands for one that is thrown away."""
        self._kept = kept
        self._lock: FileLock | None = None
        self._keeper: Keeper | None = None
        self._sockets: SocketDirectory | None = None
        self.path = Path()

    @property
    def sockets(self) -> Path:
        """Directory of the Unix sockets, while the directory is taken."""
        assert self._sockets is not None
        return self._sockets.path

    async def take(self) -> int:
        """Take the directory; answer how many processes of an earlier stack had to be ended.

        Raises:
            AlreadyRunning: another stack has it.
            StackError: it cannot be used.
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
            raise StackError(f"cannot make a directory for Unix sockets: {error}")
        locks = [self.path / "postgres" / "postgres.lock", self.path / _LOCK]
        left = [self.sockets, *(locks if self._kept else [self.path])]
        self._keeper = Keeper(self.path, left, self._lock.descriptor)
        remains = find_marked(self.path)
        if remains:
            await asyncio.to_thread(end_marked, self.path, 3.0)
        return len(remains)

    def write_note(self, note: Mapping[str, str]) -> None:
        """Tell those who find the directory taken who has it."""
        assert self._lock is not None
        self._lock.write(json.dumps({"pid": str(os.getpid()), **note}))

    async def leave(self) -> None:
        """End what still runs, give the directory back, delete it if it is not to be kept."""
        if self._keeper is None:
            return
        await asyncio.to_thread(end_marked, self.path, 1.0)
        if self._sockets is not None:
            self._sockets.remove()
        if self._kept is None:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
        self._keeper.dismiss()
        self._lock = self._keeper = None

    def _make(self) -> None:
        if self._kept is None:
            self.path = Path(tempfile.mkdtemp(prefix="spincycle-", dir=_open_to_all()))
        else:
            self.path = self._kept.absolute()
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.path.stat()
        if found.st_uid != os.geteuid():
            raise StackError(f"cannot use {self.path}: it belongs to another account")
        if os.geteuid() == 0:
            # For the account that PostgreSQL runs as.
            self.path.chmod(found.st_mode | 0o011)

    async def _locked(self, path: Path) -> FileLock:
        lock = FileLock(path)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLEANING):
                while True:
                    try:
                        lock.acquire()
                    except Locked as error:
                        note = _read_note(error.note)
                        if "pid" not in note or _is_alive(int(note["pid"])):
                            raise AlreadyRunning(self.path, note)
                        # It was killed, and its keeper is cleaning up.
                        await asyncio.sleep(0.1)
                    else:
                        return lock
        raise StackError(f"{path} stays locked although the process that locked it is gone")


def _open_to_all() -> Path | None:
    """For root, a directory for throw-away ones that PostgreSQL's account can enter, too."""
    if os.geteuid() != 0:
        return None
    for path in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108 # for mkdtemp
        if all(each.stat().st_mode & 0o001 for each in (path, *path.parents)):
            return path
    return None


def _read_note(note: str) -> dict[str, str]:
    try:
        said = json.loads(note)
    except ValueError:
        return {}
    return {str(key): str(said[key]) for key in said} if isinstance(said, dict) else {}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
