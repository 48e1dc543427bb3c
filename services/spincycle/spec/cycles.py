"""Cycles in a directed graph."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


def find_cycles(edges: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return one cycle per strongly connected component, sorted.

    It is a shortest cycle through the component's smallest name, with which it starts and which is
    not repeated at the end. Targets that are not keys of `edges` are ignored.
    """
    found = []
    for component in _components(edges):
        members = set(component)
        start = min(component)
        if len(component) > 1 or start in edges[start]:
            found.append(_shortest(start, members, edges))
    return sorted(found)


def _shortest(start: str, members: set[str], edges: Mapping[str, Sequence[str]]) -> list[str]:
    came_from: dict[str, str] = {}
    waiting = deque([start])
    while waiting:
        name = waiting.popleft()
        for target in sorted(set(edges[name]) & members):
            if target == start:
                cycle = [name]
                while cycle[-1] != start:
                    cycle.append(came_from[cycle[-1]])
                return cycle[::-1]
            if target not in came_from:
                came_from[target] = name
                waiting.append(target)
    raise AssertionError("a strongly connected component has a cycle through each member")


def _components(edges: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Yield the strongly connected components, by Tarjan's algorithm without recursion."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for root in edges:
        if root in number:
            continue
        path: list[tuple[str, Iterator[str]]] = []
        _enter(root, number, low, stack, on_stack, path, edges)
        while path:
            name, targets = path[-1]
            target = next((t for t in targets if t in edges), None)
            if target is None:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[name])
                if low[name] == number[name]:
                    yield _pop_until(name, stack, on_stack)
            elif target not in number:
                _enter(target, number, low, stack, on_stack, path, edges)
            elif target in on_stack:
                low[name] = min(low[name], number[target])


def _enter(
    name: str,
    number: dict[str, int],
    low: dict[str, int],
    stack: list[str],
    on_stack: set[str],
    path: list[tuple[str, Iterator[str]]],
    edges: Mapping[str, Iterable[str]],
) -> None:
    number[name] = low[name] = len(number)
    stack.append(name)
    on_stack.add(name)
    path.append((name, iter(edges[name])))


def _pop_until(name: str, stack: list[str], on_stack: set[str]) -> list[str]:
    component = []
    while True:
        member = stack.pop()
        on_stack.discard(member)
        component.append(member)
        if member == name:
            return component
