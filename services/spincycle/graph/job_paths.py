"""Paths of jobs: where each stands in the plan, as text for a person."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from spincycle.model.job_path import BEGIN, END, PATH_BYTES, SEPARATOR, path_within
from spincycle.spec.arg_type import text_of
from spincycle.text.shortening import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spincycle.model.job_chain import Value

LABEL_CHARACTERS = 40
"""Maximum characters of an element's value in a path."""

_NODE_BYTES = PATH_BYTES - len(SEPARATOR + BEGIN)
_NUMBER_BYTES = len(" #1000000")
_NAME_BYTES = 200
_MAX_UNSTRIPPED = 4 * LABEL_CHARACTERS
_MAX_CHARACTER_BYTES = 4
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class JobPaths:
    """Assigns the paths of one chain's nodes and jobs, each once.

    A path that is too long is shortened in its middle. A path that was assigned before, because it
    was shortened or a name contains the separator, is followed by a number, for example "#2".
    """

    def __init__(self) -> None:
        self._assigned: dict[str, int] = {}
        self._names: dict[str, str] = {}

    def of_node(self, around: str, name: str, label: str = "") -> str:
        """Return the path of a node, or of one element of it.

        `around` is the path of the node whose sequence contains it; empty for that of the request.
        `label` shows the element; it is empty if the node is not repeated.
        """
        part = self._names.get(name)
        if part is None:
            part = self._names[name] = _shown(name)
        if label:
            part = f"{part} {label}"
        return self._assign(path_within(around, part), _NODE_BYTES)

    def of_begin(self, node: str) -> str:
        """Return the path of the begin job of a node's sequence; that of the request for ""."""
        return self._assign(path_within(node, BEGIN), PATH_BYTES)

    def of_end(self, node: str) -> str:
        """Return the path of the end job of a node's sequence; that of the request for ""."""
        return self._assign(path_within(node, END), PATH_BYTES)

    def _assign(self, path: str, limit: int) -> str:
        if len(path) * _MAX_CHARACTER_BYTES > limit:
            path = shortened(path, limit)
        number = self._assigned.get(path)
        if number is None:
            self._assigned[path] = 1
            return path
        stem = shortened(path, limit - _NUMBER_BYTES)
        unique = path
        while unique in self._assigned:
            number += 1
            unique = f"{stem} #{number}"
        self._assigned[path] = number
        self._assigned[unique] = 1
        return unique


def element_labels(values: Sequence[Value], *, secret: bool) -> list[str]:
    """Return what each element of a repeated node is shown by: its value, or its position.

    A value is shown if it is a printable text or number of at most LABEL_CHARACTERS, if it is not
    secret, and if no other element has it. A position is for example "[5]"; the first is "[1]".
    """
    shown = [""] * len(values) if secret else [_label(value) for value in values]
    counts = Counter(shown)
    return [
        label if label and counts[label] == 1 else f"[{position}]"
        for position, label in enumerate(shown, 1)
    ]


def _label(value: Value) -> str:
    """Return a value as a label; empty if it cannot be one."""
    text = "" if isinstance(value, bool) else text_of(value) or ""
    if len(text) > _MAX_UNSTRIPPED:
        return ""
    label = " ".join(text.split())
    # A label in brackets would look like a position.
    if len(label) > LABEL_CHARACTERS or label.startswith("[") or SEPARATOR in label:
        return ""
    return label if label.isprintable() else ""


def _shown(name: str) -> str:
    """Return the name of a node as one part of a path."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    text = " ".join(shortened(name, _NAME_BYTES).split())
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "?" for character in text)
    return text.replace(SEPARATOR, "/") or "?"
