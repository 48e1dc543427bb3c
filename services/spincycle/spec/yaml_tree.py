"""Parses YAML into nodes whose scalars keep their literal text."""

from __future__ import annotations

import gc
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import yaml

from spincycle.spec.model import Position

if TYPE_CHECKING:
    from collections.abc import Iterator

# PyYAML has the loader in C unless it was built without libyaml.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_MERGE = "tag:yaml.org,2002:merge"
_DEEPEST = 200
_LEADING = re.compile(r"^[ \-?:]+", re.MULTILINE)
_BRACKETS = re.compile(r"[\[\]{}]")
_NULL = "tag:yaml.org,2002:null"


class NotYaml(Exception):
    """The text cannot be parsed."""

    def __init__(self, problem: str, at: Position | None) -> None:
        self.problem = problem
        self.at = at
        super().__init__(problem)


def parse(text: str) -> tuple[yaml.Node | None, Position | None]:
    """Return the first document (None if the text is empty) and the position of a second one.

    Raises:
        NotYaml: the text cannot be parsed.
    """
    if _may_be_deep(text):
        _check_depth(text)
    loader = _Loader(text)
    try:
        root = loader.get_node() if loader.check_node() else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = _position(mark.line, mark.column) if mark else None
        raise NotYaml(_problem(error), at) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise NotYaml(str(error).splitlines()[0], None) from None
    else:
        return root, _second_document(loader)
    finally:
        loader.dispose()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Disable the cycle collector while a tree is built.

    The tree contains no garbage, and traversing it repeatedly would make parsing superlinear.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def position(node: yaml.Node) -> Position:
    """Return the position of a node; of a map in block style, that of its first key."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        node = node.value[0][0]
    start, end = node.start_mark, node.end_mark
    column = start.column + 1
    last = end.column + 1 if end.line == start.line else 0
    return Position(start.line + 1, column, max(last, column + 1))


def is_null(node: yaml.Node) -> bool:
    """Return whether the value is null: `~`, `null` or empty."""
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def is_plain(node: yaml.ScalarNode) -> bool:
    """Return whether the scalar is written without quotes."""
    return not node.style


def pairs(node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
    """Return keys and values in the order of the file, preceded by merged ones (`<<`)."""
    if not any(key.tag == _MERGE for key, _ in node.value):
        return list(node.value)
    own = [(key, value) for key, value in node.value if key.tag != _MERGE]
    taken = {key.value for key, _ in own if isinstance(key, yaml.ScalarNode)}
    return _merged(node, taken) + own


def _may_be_deep(text: str) -> bool:
    if any(len(run) > _DEEPEST for run in _LEADING.findall(text)):
        return True
    depth = deepest = 0
    for bracket in _BRACKETS.findall(text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest > _DEEPEST


def _check_depth(text: str) -> None:
    # The C loader is recursive: a tree that is too deep would crash the process.
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > _DEEPEST:
                mark = event.start_mark
                at = _position(mark.line, mark.column) if mark else None
                raise NotYaml(f"nested deeper than {_DEEPEST} levels", at)
    except yaml.YAMLError:
        return  # The loader reports the same error with its position.


def _merged(node: yaml.MappingNode, taken: set[str]) -> list[tuple[yaml.Node, yaml.Node]]:
    """Return the pairs of the merged mappings whose keys are not taken; the nearest one wins."""
    found: list[tuple[yaml.Node, yaml.Node]] = []
    seen = {id(node)}
    waiting = _merge_sources(node)
    while waiting:
        source = waiting.pop(0)
        if id(source) in seen:
            continue
        seen.add(id(source))
        for key, value in source.value:
            if key.tag != _MERGE and isinstance(key, yaml.ScalarNode) and key.value not in taken:
                taken.add(key.value)
                found.append((key, value))
        waiting = _merge_sources(source) + waiting
    return found


def _merge_sources(node: yaml.MappingNode) -> list[yaml.MappingNode]:
    sources: list[yaml.MappingNode] = []
    for key, value in node.value:
        if key.tag == _MERGE:
            candidates = value.value if isinstance(value, yaml.SequenceNode) else [value]
            sources += [source for source in candidates if isinstance(source, yaml.MappingNode)]
    return sources


def _second_document(loader: yaml.SafeLoader) -> Position | None:
    try:
        second = loader.get_node() if loader.check_node() else None
    except yaml.YAMLError:
        return None
    return position(second) if second is not None else None


def _problem(error: yaml.MarkedYAMLError) -> str:
    parts = (error.context, error.problem)
    return ": ".join(part for part in parts if part) or "the text cannot be parsed"


def _position(line: int, column: int) -> Position:
    return Position(line + 1, column + 1, column + 2)
