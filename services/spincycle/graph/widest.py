"""Maximum number of jobs that can run at once: the heaviest antichain of a graph.

Chains and twins (vertices with equal neighbours) are contracted first, which reduces most specs to
one vertex. The rest is solved by Dilworth's theorem: total weight minus the maximum flow between
successive vertices.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_KERNEL_EDGES = 2_000


def widest(weights: Sequence[int], parents: Sequence[Sequence[int]]) -> int:
    """Return the weight of the heaviest antichain of a graph with topologically numbered vertices.

    Exact unless more than 2,000 edges are left after the contraction; then it is the weight of the
    heaviest level, which may be less.
    """
    graph = _Graph(weights, parents)
    graph.contract()
    if len(graph.weights) <= 1:
        return sum(graph.weights.values())
    if graph.edges() > _MAX_KERNEL_EDGES:
        return graph.heaviest_level()
    return sum(graph.weights.values()) - graph.max_flow()


class _Graph:
    def __init__(self, weights: Sequence[int], parents: Sequence[Sequence[int]]) -> None:
        self.weights = dict(enumerate(weights))
        self.before = {vertex: set(parents[vertex]) for vertex in self.weights}
        self.after: dict[int, set[int]] = {vertex: set() for vertex in self.weights}
        for vertex, before in self.before.items():
            for parent in before:
                self.after[parent].add(vertex)

    def edges(self) -> int:
        return sum(map(len, self.before.values()))

    def contract(self) -> None:
        """Contract chains and twins until there are none."""
        changed = True
        while changed:
            changed = self._contract_chains() | self._contract_twins()

    def _contract_chains(self) -> bool:
        changed = False
        for vertex in sorted(self.weights):
            while len(self.after.get(vertex, ())) == 1:
                (following,) = self.after[vertex]
                if len(self.before[following]) != 1:
                    break
                self.weights[vertex] = max(self.weights[vertex], self.weights.pop(following))
                self.after[vertex] = self.after.pop(following)
                del self.before[following]
                for other in self.after[vertex]:
                    self.before[other].discard(following)
                    self.before[other].add(vertex)
                changed = True
        return changed

    def _contract_twins(self) -> bool:
        first: dict[tuple[frozenset[int], frozenset[int]], int] = {}
        changed = False
        for vertex in sorted(self.weights):
            key = (frozenset(self.before[vertex]), frozenset(self.after[vertex]))
            twin = first.setdefault(key, vertex)
            if twin != vertex:
                self.weights[twin] += self.weights.pop(vertex)
                for parent in self.before.pop(vertex):
                    self.after[parent].discard(vertex)
                for child in self.after.pop(vertex):
                    self.before[child].discard(vertex)
                changed = True
        return changed

    def heaviest_level(self) -> int:
        level: dict[int, int] = {}
        total: dict[int, int] = {}
        for vertex in sorted(self.weights):
            level[vertex] = max((level[p] + 1 for p in self.before[vertex]), default=0)
            total[level[vertex]] = total.get(level[vertex], 0) + self.weights[vertex]
        return max(total.values())

    def max_flow(self) -> int:
        """Return the maximum weight that can flow from vertices to their successors."""
        flow = _Flow()
        unlimited = sum(self.weights.values())
        for vertex, weight in self.weights.items():
            flow.add(-1, 2 * vertex, weight)
            flow.add(2 * vertex + 1, -2, weight)
            flow.add(2 * vertex + 1, 2 * vertex, unlimited)
            for following in self.after[vertex]:
                flow.add(2 * vertex, 2 * following + 1, unlimited)
        return flow.maximum(-1, -2)


class _Flow:
    """Maximum flow by Dinic's algorithm, without recursion."""

    def __init__(self) -> None:
        self._residual: dict[int, dict[int, int]] = {}

    def add(self, source: int, target: int, capacity: int) -> None:
        self._residual.setdefault(source, {})[target] = capacity
        self._residual.setdefault(target, {}).setdefault(source, 0)

    def maximum(self, source: int, target: int) -> int:
        total = 0
        while (level := self._levels(source)).get(target) is not None:
            rest = {vertex: list(edges) for vertex, edges in self._residual.items()}
            while (path := self._path(source, target, level, rest)) is not None:
                steps = list(pairwise(path))
                amount = min(self._residual[a][b] for a, b in steps)
                for a, b in steps:
                    self._residual[a][b] -= amount
                    self._residual[b][a] += amount
                total += amount
        return total

    def _levels(self, source: int) -> dict[int, int]:
        level = {source: 0}
        waiting = deque([source])
        while waiting:
            vertex = waiting.popleft()
            for other, capacity in self._residual[vertex].items():
                if capacity and other not in level:
                    level[other] = level[vertex] + 1
                    waiting.append(other)
        return level

    def _path(
        self, source: int, target: int, level: dict[int, int], rest: dict[int, list[int]]
    ) -> list[int] | None:
        path = [source]
        while path[-1] != target:
            vertex = path[-1]
            following = level[vertex] + 1
            edges = rest[vertex]
            while edges and not (
                self._residual[vertex][edges[-1]] and level.get(edges[-1]) == following
            ):
                edges.pop()
            if edges:
                path.append(edges[-1])
            elif len(path) == 1:
                return None
            else:
                path.pop()
                rest[path[-1]].pop()
        return path
