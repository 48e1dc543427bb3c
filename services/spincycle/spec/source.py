"""Spec files on disk: which ones there are and what they hold."""

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


MOST_BYTES = 4 * 1024 * 1024
"""Bytes of the largest spec file."""


@dataclass(frozen=True, slots=True)
class Source:
    """One spec file.

    Attributes:
        file: how findings name it.
        text: its content.
    """

    file: str
    text: str


def find_sources(directory: Path, report: Report, prefix: Path | None = None) -> list[Source]:
    """Every *.yaml file below a directory, in lexical order of its path.

    Files are named relative to the directory, after `prefix` if that is given.
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
    """One file, as a list that is empty, with a finding, if it cannot be read."""
    try:
        content = _read(path)
        if len(content) <= MOST_BYTES:
            return [Source(name, content.decode("utf-8-sig"))]
        report.add("unreadable-file", f"it has more than {MOST_BYTES} bytes", file=name)
    except OSError as error:
        report.add("unreadable-file", _reason(error), file=name)
    except UnicodeDecodeError as error:
        report.add("unreadable-file", f"not UTF-8: {error.reason} at byte {error.start}", file=name)
    return []


def look_of(directory: Path) -> tuple[tuple[str, int, int, int], ...]:
    """What tells, without reading them, whether the *.yaml files below a directory changed.

    That is the place, inode, size and time of change of each, links followed. A file that goes
    while this looks is left out.
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
    """Content hash of a set of files; their order means nothing."""
    digest = hashlib.sha256()
    for source in sorted(sources, key=lambda source: source.file):
        for part in (source.file.encode(), source.text.encode()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()[:16]


def _walk(directory: Path) -> Iterable[Path]:
    for entry in directory.iterdir():
        if entry.is_dir():
            # Kubernetes mounts a ConfigMap as links into a directory whose name begins so.
            if not entry.is_symlink() and not entry.name.startswith(".."):
                yield from _walk(entry)
        elif entry.name.lower().endswith(".yaml"):
            yield entry


def _read(path: Path) -> bytes:
    """The content of a file, up to one byte more than it may have.

    Raises:
        OSError: it cannot be read, or is not a regular file: reading a pipe could wait for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        return file.read(MOST_BYTES + 1)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
