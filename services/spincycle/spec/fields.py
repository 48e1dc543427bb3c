"""Typed access to YAML mappings; wrong types and unknown or duplicate keys are findings."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import yaml

from spincycle.model.duration import parse_duration
from spincycle.spec.arg_type import FALSE_WORDS, TRUE_WORDS
from spincycle.spec.yaml_tree import is_null, is_plain, pairs, position
from spincycle.text.nearest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.spec.finding import Report
    from spincycle.spec.model import Position

_UINT = re.compile(r"\+?(0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-7_]+|[0-9][0-9_]*)", re.ASCII)
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_MIXED_CASE = re.compile(r"[a-z]+|[A-Z]+|[A-Z][a-z]+", re.ASCII)
_LARGEST = 2**31 - 1


class TooManyEntries(Exception):
    """Aliases expand a file to far more entries than its text has."""


class Context:
    """The reader's place in the specs, which is added to every finding.

    `entries_left` is the number of entries of lists and maps that the file may still have.
    """

    def __init__(self, file: str, report: Report, entries_left: int) -> None:
        self.file = file
        self._entries_left = entries_left
        self.sequence = ""
        self.node = ""
        self._report = report

    def add(
        self,
        code: str,
        message: str,
        at: Position,
        field: str,
        values: tuple[str, ...] = (),
        advice: str = "",
    ) -> None:
        """Add a finding at a position of the current file."""
        self._report.add(
            code,
            message,
            file=self.file,
            at=at,
            sequence=self.sequence,
            node=self.node,
            field=field,
            values=values,
            advice=advice,
        )

    def count_entries(self, entries: int) -> None:
        """Count entries that are read.

        Raises:
            TooManyEntries: the file has more than it may have.
        """
        self._entries_left -= entries
        if self._entries_left < 0:
            raise TooManyEntries


class Fields:
    """The fields of one mapping.

    The accessors return None or an empty list if a field is absent, null or has the wrong type,
    which is a finding.

    Attributes:
        at: positions of the values that are not null, by key.
    """

    def __init__(
        self, node: yaml.Node, context: Context, what: str, known: Iterable[str], path: str = ""
    ) -> None:
        self._context = context
        self._path = path
        self._values: dict[str, yaml.Node] = {}
        self.at: dict[str, Position] = {}
        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, path.rstrip("."), f"{what} must be a map")
            return
        for name, key, value in keyed(node, context, what, path):
            if name not in known:
                context.add(
                    "unknown-key",
                    f'unknown key "{name}" in {what}{did_you_mean(name, known)}',
                    position(key),
                    path + name,
                    (name,),
                )
            elif is_null(value):
                self._values.pop(name, None)
                self.at.pop(name, None)
            else:
                self._values[name] = value
                self.at[name] = position(value)

    def get(self, name: str) -> yaml.Node | None:
        """Return the raw value."""
        return self._values.get(name)

    def text(self, name: str) -> str | None:
        """Return the literal text of a scalar: `yes` is "yes" and `1.50` is "1.50"."""
        node = self._values.get(name)
        if node is None or isinstance(node, yaml.ScalarNode):
            return None if node is None else str(node.value)
        self._wrong(node, self._path + name, f"{name} must be a string")
        return None

    def flag(self, name: str) -> bool:
        """Return an unquoted YAML boolean: true, yes, on, or their opposites."""
        node = self._values.get(name)
        if node is None:
            return False
        if isinstance(node, yaml.ScalarNode) and is_plain(node):
            word = str(node.value)
            if _MIXED_CASE.fullmatch(word) and word.lower() in TRUE_WORDS | FALSE_WORDS:
                return word.lower() in TRUE_WORDS
        self._wrong(node, self._path + name, f"{name} must be true or false, without quotes")
        return False

    def count(self, name: str) -> int | None:
        """Return a whole number from 0; a fraction is truncated."""
        node = self._values.get(name)
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode) and is_plain(node):
            text = str(node.value)
            if _UINT.fullmatch(text):
                number = _whole(text)
                if number is not None and number <= _LARGEST:
                    return number
            elif _FLOAT.fullmatch(text) and 0 <= float(text) <= _LARGEST:
                if float(text) != int(float(text)):
                    self._context.add(
                        "truncated-number",
                        f"{name} must be a whole number: {text} is truncated to {int(float(text))}",
                        position(node),
                        self._path + name,
                        (text,),
                    )
                return int(float(text))
        message = f"{name} must be a whole number from 0 to {_LARGEST}, without quotes"
        self._wrong(node, self._path + name, message)
        return None

    def number(self, name: str) -> float | None:
        """Return a finite number."""
        node = self._values.get(name)
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode) and is_plain(node) and _FLOAT.fullmatch(node.value):
            number = float(node.value)
            if math.isfinite(number):
                return number
        self._wrong(node, self._path + name, f"{name} must be a number, without quotes")
        return None

    def duration(self, name: str) -> float | None:
        """Return the seconds, more than 0, of a duration such as 1m30s."""
        text = self.text(name)
        if text is None:
            return None
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            problem = str(error)
        else:
            if seconds > 0:
                return seconds
            problem = f"{name} must be longer than 0"
        self._context.add("duration-invalid", problem, self.at[name], self._path + name, (text,))
        return None

    def entries(self, name: str) -> list[yaml.Node] | None:
        """Return the elements of a list; null elements are findings and omitted."""
        node = self._values.get(name)
        if node is None:
            return None
        if not isinstance(node, yaml.SequenceNode):
            self._wrong(node, self._path + name, f"{name} must be a list")
            return None
        self._context.count_entries(len(node.value))
        elements = []
        for element in node.value:
            if is_null(element):
                self._context.add(
                    "empty-entry",
                    f"an entry of {name} is empty",
                    position(element),
                    self._path + name,
                    ("null",),
                    "add content or remove it",
                )
            else:
                elements.append(element)
        return elements

    def texts(self, name: str) -> list[tuple[str, Position]] | None:
        """Return the elements of a list of strings."""
        elements = self.entries(name)
        if elements is None:
            return None
        found = []
        for element in elements:
            if isinstance(element, yaml.ScalarNode):
                found.append((str(element.value), position(element)))
            else:
                self._wrong(element, self._path + name, f"an entry of {name} must be a string")
        return found

    def pairs(self, name: str) -> list[tuple[str, yaml.Node, yaml.Node]]:
        """Return name, key and value of each entry of a map; of equal keys the last one counts."""
        node = self._values.get(name)
        if node is None:
            return []
        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, self._path + name, f"{name} must be a map")
            return []
        last = {
            key: (key, key_node, value)
            for key, key_node, value in keyed(node, self._context, name, f"{self._path}{name}.")
        }
        return list(last.values())

    def _wrong(self, node: yaml.Node, field: str, message: str) -> None:
        values = (str(node.value),) if isinstance(node, yaml.ScalarNode) else ()
        self._context.add("wrong-type", message, position(node), field, values)


def keyed(
    node: yaml.MappingNode, context: Context, what: str, path: str
) -> list[tuple[str, yaml.Node, yaml.Node]]:
    """Return name, key and value of each pair; duplicate and non-scalar keys are findings."""
    found: list[tuple[str, yaml.Node, yaml.Node]] = []
    seen: set[str] = set()
    entries = pairs(node)
    context.count_entries(len(entries))
    for key, value in entries:
        if not isinstance(key, yaml.ScalarNode):
            context.add("wrong-type", f"a key in {what} must be a string", position(key), path[:-1])
            continue
        name = str(key.value)
        if name in seen:
            context.add(
                "duplicate-key",
                f'key "{name}" occurs twice in {what}; the last one counts',
                position(key),
                path + name,
                (name,),
            )
        seen.add(name)
        found.append((name, key, value))
    return found


def _whole(text: str) -> int | None:
    digits = text.lstrip("+").replace("_", "").lower()
    if digits.startswith("0") and digits[1:].isdigit():
        digits = "0o" + digits[1:]
    try:
        return int(digits, 0)
    except ValueError:
        return None
