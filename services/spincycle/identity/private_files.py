"""Writes files of keys and certificates, which other processes may read at the same time."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def write_new(file: Path, contents: bytes, mode: int) -> None:
    """Write a file that does not exist yet.

    Raises:
        OSError: the file exists or cannot be written.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as new:
        new.write(contents)
        new.flush()
        os.fsync(descriptor)


def replace_file(file: Path, contents: bytes, mode: int, *, keep_permissions: bool = False) -> None:
    """Write a file in one step: a reader sees the previous contents or the new ones.

    With `keep_permissions` a file that exists keeps its owner and mode.

    Raises:
        OSError: the file cannot be written.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        write_new(part, contents, mode)
        if keep_permissions and file.exists():
            before = file.stat()
            os.chown(part, before.st_uid, before.st_gid)
            part.chmod(stat.S_IMODE(before.st_mode))
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def is_open_to_all(path: Path) -> bool:
    """Return whether every account of the machine may access a file.

    Secrets of Kubernetes have such a mode, too, on a mount of their own, which is read-only.
    """
    try:
        mode, mount = path.stat().st_mode, os.statvfs(path)
    except OSError:
        return False
    return bool(mode & stat.S_IRWXO) and not mount.f_flag & os.ST_RDONLY
