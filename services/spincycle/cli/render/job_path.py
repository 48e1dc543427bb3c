"""Paths of jobs in terminal columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from spincycle.cli.render.text import cell_width, one_line, squeeze
from spincycle.model.job_path import SEPARATOR

_MARK = ".."
_SHORTEST = len(_MARK + SEPARATOR) + 6
"""Fewest columns in which both ends of an element and of the last part can be shown."""


class NamedJob(Protocol):
    """A message that names a job."""

    @property
    def name(self) -> str:
        """Name of its node."""

    @property
    def path(self) -> str:
        """Its place in the plan; empty in a chain that was stored without paths."""


def job_title(job: NamedJob) -> str:
    """Return the path of the job on one line; its name if it has no path."""
    return one_line(job.path or job.name)


def shorten_path(path: str, width: int) -> str:
    """Shorten a path to at most `width` columns in its middle.

    The innermost element, such as a host, and the last part stay visible as long as possible.
    """
    if cell_width(path) <= width:
        return path
    *around, last = path.split(SEPARATOR)
    for shorter in _shorter(around, last):
        if cell_width(shorter) <= width:
            return shorter
    elements = _elements(around)
    if not elements or width < _SHORTEST:
        return squeeze(last, width)
    element = elements[-1]
    room = width - cell_width(_MARK + SEPARATOR)
    for_last = max(room - cell_width(element), min(room // 2, cell_width(last)))
    return f"{_MARK}{squeeze(element, room - for_last)}{SEPARATOR}{squeeze(last, for_last)}"


def _shorter(around: list[str], last: str) -> Iterator[str]:
    """Yield shorter forms of a path, the longest first."""
    elements = _elements(around)
    if not elements:
        if len(around) > 1:
            yield SEPARATOR.join([around[0], _MARK, last])
        if around:
            yield SEPARATOR.join([_MARK, last])
        return
    kept: list[str] = []
    for part in around:
        if _element(part):
            kept.append(part)
        elif kept[-1:] != [_MARK]:
            kept.append(_MARK)
    yield SEPARATOR.join([*kept, last])
    yield SEPARATOR.join([*(_MARK + element for element in elements), last])
    yield SEPARATOR.join([_MARK + elements[-1], last])


def _elements(parts: list[str]) -> list[str]:
    return [element for part in parts if (element := _element(part))]


def _element(part: str) -> str:
    """Return the element in a part such as `upgrade h05`; empty if its node is not repeated."""
    return part.partition(" ")[2]
