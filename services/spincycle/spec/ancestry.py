"""Ancestor queries in an acyclic graph, mostly answered without a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Ancestry:
    """Answers ancestor queries in a directed acyclic graph with topologically numbered vertices.

    A depth-first traversal gives each vertex an entry number, an exit number and the range of exit
    numbers that it can reach. The ranges decide nearly every query and prune the search for the
    rest.
    """

    def __init__(self, parents: Sequence[Sequence[int]]) -> None:
        self._parents = parents
        children: list[list[int]] = [[] for _ in parents]
        for vertex, before in enumerate(parents):
            for parent in before:
                children[parent].append(vertex)
        self._first = [-1] * len(parents)
        self._last = [-1] * len(parents)
        self._walk(children)
        self._lowest = self._last.copy()
        for vertex in range(len(parents) - 1, -1, -1):
            for child in children[vertex]:
                self._lowest[vertex] = min(self._lowest[vertex], self._lowest[child])

    def before(self, ancestor: int, vertex: int) -> bool:
        """Return whether a path leads from `ancestor` to another vertex `vertex`."""
        if not self._possible(ancestor, vertex):
            return False
        if (
            self._first[ancestor] < self._first[vertex]
            and self._last[vertex] < self._last[ancestor]
        ):
            return True
        return self._search(ancestor, vertex)

    def _possible(self, ancestor: int, vertex: int) -> bool:
        return (
            ancestor < vertex
            and self._lowest[ancestor] <= self._lowest[vertex]
            and self._last[vertex] <= self._last[ancestor]
        )

    def _search(self, ancestor: int, vertex: int) -> bool:
        waiting, seen = [vertex], {vertex}
        while waiting:
            for parent in self._parents[waiting.pop()]:
                if parent == ancestor:
                    return True
                if parent not in seen and self._possible(ancestor, parent):
                    seen.add(parent)
                    waiting.append(parent)
        return False

    def _walk(self, children: list[list[int]]) -> None:
        entered = exited = 0
        for root, before in enumerate(self._parents):
            if before:
                continue
            path = [(root, iter(children[root]))]
            self._first[root] = entered
            entered += 1
            while path:
                vertex, rest = path[-1]
                child = next((c for c in rest if self._first[c] < 0), None)
                if child is None:
                    path.pop()
                    self._last[vertex] = exited
                    exited += 1
                else:
                    self._first[child] = entered
                    entered += 1
                    path.append((child, iter(children[child])))
