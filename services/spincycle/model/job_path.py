"""Form of job paths, such as "upgrade h05 / verify"."""

from __future__ import annotations

PATH_BYTES = 512
"""Maximum bytes of a path."""

SEPARATOR = " / "
"""Stands between the parts of a path, one per node."""

BEGIN = "(begin)"
END = "(end)"
"""Last parts of the paths of a sequence's begin and end job."""


def path_within(around: str, part: str) -> str:
    """Return the path of a part of a node; of the request for an empty path."""
    return f"{around}{SEPARATOR}{part}" if around else part


def node_of_begin(path: str) -> str:
    """Return the path of the node whose sequence has a begin job with this path."""
    return path.removesuffix(SEPARATOR + BEGIN)


def last_part(path: str) -> str:
    """Return the last part of a path: the node itself, with its element."""
    return path.rpartition(SEPARATOR)[2]
