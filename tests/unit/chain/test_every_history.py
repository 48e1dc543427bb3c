"""The model allows every history of all small graphs.

A history is an interleaving of completions, failures, timeouts, stops, suspensions, resumptions and
crashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations
from typing import Any

import pytest
from tests.unit.chain.chains import chain
from tests.unit.chain.exploration import explore

from spincycle.model.job_chain import JobChain

NAMES = "abcd"

Edges = frozenset[tuple[int, int]]


def graphs(size: int) -> Iterator[Edges]:
    """Yield all acyclic graphs with the first vertex as source and the last as sink, once each."""
    pairs = list(combinations(range(size), 2))
    seen: set[Edges] = set()
    for count in range(size - 1, len(pairs) + 1):
        for edges in map(frozenset, combinations(pairs, count)):
            if {b for _, b in edges} != set(range(1, size)):
                continue
            if {a for a, _ in edges} != set(range(size - 1)):
                continue
            if not any(_renamed(edges, order) in seen for order in _middles(size)):
                seen.add(edges)
                yield edges


def _middles(size: int) -> Iterator[tuple[int, ...]]:
    for middle in permutations(range(1, size - 1)):
        yield (0, *middle, size - 1)


def _renamed(edges: Edges, order: tuple[int, ...]) -> Edges:
    return frozenset((order[a], order[b]) for a, b in edges)


def drawing(edges: Edges) -> str:
    return "; ".join(f"{NAMES[a]} > {NAMES[b]}" for a, b in sorted(edges))


SMALL = [edges for size in (2, 3) for edges in graphs(size)]
FOUR = list(graphs(4))


def made(edges: Edges, variant: str) -> JobChain:
    """Return the graph with retries and, in some variants, a separate sequence for one job."""
    jobs: dict[str, dict[str, Any]] = {
        "a": {"sequence_retry": 1},
        "b": {"retry": 1, "retry_wait": "1s"},
    }
    sequences: dict[str, str] = {}
    if variant == "nested":
        sequences = {"b": "b"}
        jobs["b"] |= {"sequence_retry": 1, "retry": 0, "sequence_retry_wait": "1s"}
    elif variant == "at most once":
        jobs["b"] |= {"fail_if_interrupted": True}
        jobs["c"] = {"fail_if_interrupted": True}
    elif variant == "limited":
        jobs["a"] |= {"sequence_timeout": 9}
    elif variant == "plain":
        jobs["a"] = {}
    drawn = drawing(edges)
    jobs = {name: more for name, more in jobs.items() if name in drawn}
    return chain(drawn, jobs=jobs, sequences=sequences)


@pytest.mark.parametrize("once", ["stop", "suspend", "crash"])
def test_every_history_of_a_window_is_allowed(once: str) -> None:
    elements = [(name, name) for name in "bcd"]
    windowed = chain("A > b c d > E", limits=[(2, elements)], jobs={"c": {"retry": 1}})
    assert explore(windowed, frozenset({once})) > 1


def test_there_are_as_many_small_graphs_as_expected() -> None:
    assert [len(list(graphs(size))) for size in (2, 3, 4)] == [1, 2, 10]


@pytest.mark.parametrize("edges", [*SMALL, *FOUR], ids=drawing)
@pytest.mark.parametrize(
    ("variant", "once"),
    [
        ("plain", {"stop", "suspend"}),
        ("plain", {"crash"}),
        ("retried", {"stop"}),
        ("retried", {"crash"}),
        ("nested", {"suspend"}),
        ("nested", {"crash"}),
        ("at most once", {"crash"}),
        ("limited", {"overdue"}),
        ("limited", {"overdue", "crash"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "+".join(sorted(value)),
)
def test_every_history_of_a_small_graph_is_allowed(
    edges: Edges, variant: str, once: set[str]
) -> None:
    assert explore(made(edges, variant), frozenset(once)) > 1
