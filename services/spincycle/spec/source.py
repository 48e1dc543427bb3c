"""Finds and reads spec files on disk."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.spec.finding import Report


MAX_FILE_BYTES = 4 * 1024 * 1024
"""Maximum size of a spec file in bytes."""


@dataclass(frozen=True, slots=True)
class Source:
    """One spec file.

    Attributes:
        file: name of the file in findings.
        text: its content.
    """

    file: str
    text: str


def find_sources(directory: Path, report: Report, prefix: Path | None = None) -> list[Source]:
    """Read every *.yaml file below a directory, in lexical order of the paths.

    Files are named relative to the directory, prefixed with `prefix` if that is given.
    """
    try:
        if not directory.is_dir():
            raise NotADirectoryError(f"{directory} is not a directory")
        paths = sorted(_walk(directory))
    except OSError as error:
        report.add("unreadable-directory", _reason(error), file=str(prefix or directory))
        return []
    found = []
    for path in paths:
        relative = path.relative_to(directory)
        found += read_source(path, str(prefix / relative if prefix else relative), report)
    return found


def read_source(path: Path, name: str, report: Report) -> list[Source]:
    """Read one file; if that fails, add a finding and return an empty list."""
    try:
        content = _read(path)
        if len(content) <= MAX_FILE_BYTES:
            return [Source(name, content.decode("utf-8-sig"))]
        report.add("unreadable-file", f"the file has more than {MAX_FILE_BYTES} bytes", file=name)
    except OSError as error:
        report.add("unreadable-file", _reason(error), file=name)
    except UnicodeDecodeError as error:
        report.add(
            "unreadable-file",
            f"the file is not valid UTF-8: {error.reason} at byte {error.start}",
            file=name,
        )
    return []


def fingerprint_of(directory: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Return a value that changes when a *.yaml file below a directory changes.

    It has the path, inode, size and modification time in nanoseconds of each file, with links
    followed; files are not read. A file that is deleted meanwhile is omitted.
    """
    seen = []
    try:
        for path in sorted(_walk(directory)):
            with suppress(FileNotFoundError):
                found = path.stat()
                seen.append((str(path), found.st_ino, found.st_size, found.st_mtime_ns))
    except OSError as error:
        return ((_reason(error), 0, 0, 0),)
    return tuple(seen)


def revision_of(sources: Iterable[Source]) -> str:
    """Return the content hash of a set of files, independent of their order."""
    digest = hashlib.sha256()
    for source in sorted(sources, key=lambda source: source.file):
        for part in (source.file.encode(), source.text.encode()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()[:16]


def _walk(directory: Path) -> Iterable[Path]:
    for entry in directory.iterdir():
        if entry.is_dir():
            # Skip "..": Kubernetes mounts a ConfigMap as links into such a directory.
            if not entry.is_symlink() and not entry.name.startswith(".."):
                yield from _walk(entry)
        elif entry.name.lower().endswith(".yaml"):
            yield entry


def _read(path: Path) -> bytes:
    """Return the content of a file, at most one byte more than its maximum size.

    Raises:
        OSError: it cannot be read, or is not a regular file: reading a pipe could block forever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        return file.read(MAX_FILE_BYTES + 1)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
